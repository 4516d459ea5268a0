"""Hygiene report: findings as plain text for e-mails and the shell, and as a dict for programs."""

from keys.hygiene.findings import Finding, Hygiene
from lib import admin_links
from lib.printable import printable


def as_text(hygiene: Hygiene) -> str:
    """Return all findings as plain text, the most severe first; an empty string if there is none."""
    parts = [_paragraph(finding) for finding in hygiene.findings]
    if hygiene.unpriced:
        names = ", ".join(f"{each.model} at {each.upstream}" for each in hygiene.unpriced)
        count = "1 model was" if len(hygiene.unpriced) == 1 else f"{len(hygiene.unpriced)} models were"
        parts.append(
            printable(f"{count} used without a price: {names}.") + "\n  The cost of these requests is unknown."
        )
    return "\n\n".join(parts)


def _paragraph(finding: Finding) -> str:
    lines = [f"{finding.check.severity.label}: {finding.title}.", f"  {finding.check.recommendation}"]
    lines += [printable(f"  - {each} of {each.owner_name}") for each in finding.keys]
    if finding.more:
        lines.append(f"  - and {finding.more:,} more")
    if link := _link(finding):
        lines.append(f"  {link}")
    return "\n".join(lines)


def _link(finding: Finding) -> str | None:
    return admin_links.to("keys_apikey_changelist", **finding.filters)


def as_dict(hygiene: Hygiene) -> dict[str, object]:
    """Return all findings as JSON values."""
    return {
        "needs_attention": hygiene.needs_attention,
        "findings": [
            {
                "name": finding.check.condition,
                "severity": finding.check.severity.value,
                "count": finding.count,
                "title": finding.title,
                "recommendation": finding.check.recommendation,
                "link": _link(finding),
                "keys": [{"id": each.public_id, "name": each.name, "owner": each.owner_name} for each in finding.keys],
            }
            for finding in hygiene.findings
        ],
        "unpriced_models": [
            {"model": each.model, "upstream": each.upstream, "requested_models": list(each.requested_models)}
            for each in hygiene.unpriced
        ],
    }
