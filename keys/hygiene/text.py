"""What hygiene has found, as people read it in a mail or a shell, and as programs do."""

from keys.hygiene.findings import Finding, Hygiene
from lib import admin_links
from lib.printable import printable


def as_text(found: Hygiene) -> str:
    """All of it as plain text, the most urgent first; empty where there is nothing to say."""
    parts = [_paragraph(finding) for finding in found.findings]
    if found.unpriced:
        names = ", ".join(f"{each.model} at {each.upstream}" for each in found.unpriced)
        count = "1 model was" if len(found.unpriced) == 1 else f"{len(found.unpriced)} models were"
        parts.append(printable(f"{count} called without a price: {names}.") + "\n  What that costs is not known.")
    return "\n\n".join(parts)


def _paragraph(finding: Finding) -> str:
    lines = [f"{finding.words}.", f"  {finding.advice.todo}"]
    lines += [printable(f"  - {each} of {each.owner_name}") for each in finding.keys]
    if finding.more:
        lines.append(f"  - and {finding.more:,} more")
    if link := _link(finding):
        lines.append(f"  {link}")
    return "\n".join(lines)


def _link(finding: Finding) -> str | None:
    return admin_links.to("keys_apikey_changelist", **finding.filters)


def as_dict(found: Hygiene) -> dict[str, object]:
    """All of it for programs."""
    return {
        "needs_attention": found.needs_attention,
        "findings": [
            {
                "name": finding.advice.condition,
                "grade": finding.advice.grade,
                "count": finding.count,
                "words": finding.words,
                "advice": finding.advice.todo,
                "link": _link(finding),
                "keys": [{"id": each.public_id, "name": each.name, "owner": each.owner_name} for each in finding.keys],
            }
            for finding in found.findings
        ],
        "unpriced_models": [
            {"model": each.model, "upstream": each.upstream, "asked_as": list(each.asked_as)} for each in found.unpriced
        ],
    }
