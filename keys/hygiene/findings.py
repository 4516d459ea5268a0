"""Hygiene findings: the API keys that each check finds, and the models without a price."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlencode

from django.db.models import F

from keys.hygiene import conditions
from keys.hygiene.checks import CHECKS, Check, Severity
from keys.hygiene.conditions import ACTIVE_FLAGS, INACTIVE_FLAGS, STATES
from keys.models import APIKey
from keys.pricing.unpriced import UnpricedModel, unpriced_models

SHOWN = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """A check that found keys."""

    check: Check
    count: int
    keys: Sequence[APIKey] = ()
    """The first few of them, with their owners and teams."""

    @property
    def title(self) -> str:
        return self.check.title(self.count)

    @property
    def filters(self) -> dict[str, str]:
        """The filter of the key list that shows the same keys."""
        name = self.check.condition
        return {"finding" if conditions.NAMED[name] in ACTIVE_FLAGS else "state": name}

    @property
    def query(self) -> str:
        """The filter as the query of a URL."""
        return urlencode(self.filters)

    @property
    def needs_attention(self) -> bool:
        return self.check.severity != Severity.INFO

    @property
    def more(self) -> int:
        """The number of keys beyond the first few."""
        return self.count - len(self.keys)


@dataclass(frozen=True, kw_only=True, slots=True)
class Hygiene:
    """All findings at one time."""

    findings: list[Finding] = field(default_factory=list)
    unpriced: list[UnpricedModel] = field(default_factory=list)

    @property
    def needs_attention(self) -> bool:
        return bool(self.unpriced) or any(finding.needs_attention for finding in self.findings)


def examine() -> Hygiene:
    """Run all checks. Two queries that count, one for the keys of each finding, and three for models."""
    found = [Finding(check=each.check, count=each.count, keys=_first_keys(each)) for each in counts()]
    return Hygiene(findings=found, unpriced=unpriced_models())


def counts() -> list[Finding]:
    """Return the findings without their keys. Each count is that of the key list with the filter. Two queries."""
    counted = conditions.counts(APIKey.objects.all(), [*STATES, *INACTIVE_FLAGS])
    counted |= conditions.counts(APIKey.objects.all(), ACTIVE_FLAGS)
    return [Finding(check=each, count=counted[each.condition]) for each in CHECKS if counted[each.condition]]


def _first_keys(finding: Finding) -> list[APIKey]:
    described = APIKey.objects.with_last_use().select_related("owner", "team")
    keys = conditions.keys_with(finding.check.condition, among=described)
    soonest = F("expires_at").asc(nulls_last=True) if finding.check.condition == "expiring" else "-created_at"
    return list(keys.order_by(soonest, "-pk")[:SHOWN])
