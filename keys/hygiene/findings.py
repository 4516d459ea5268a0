"""
What somebody should look at: keys that are too open, forgotten, near their end or still tried; models without a price.

Each finding is a condition of `conditions`, so its number is what the list of keys shows behind its link.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlencode

from django.db.models import F

from keys.hygiene import conditions
from keys.hygiene.conditions import ACTIVE_FLAGS, INACTIVE_FLAGS, LONG_AGO, SOON, STATES
from keys.models import APIKey
from keys.pricing import unpriced
from keys.pricing.unpriced import Unpriced

SHOWN = 5
GRADES = {"bad": "Urgent", "warn": "To be looked at", "quiet": "To know"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """What is said of the keys for which a condition holds."""

    condition: str
    grade: str
    """`bad`: calls fail, or are about to. `warn`: to be looked at. `quiet`: to know, no more."""
    one: str
    many: str
    todo: str

    @property
    def grade_word(self) -> str:
        return GRADES[self.grade]


ADVICE = [
    Check(
        condition="budget-spent",
        grade="bad",
        one="has spent its budget",
        many="have spent their budgets",
        todo="Calls are refused with 402 until the budget resets. Raise it for now, or let it be.",
    ),
    Check(
        condition="ownerless",
        grade="bad",
        one="belongs to somebody who is inactive",
        many="belong to people who are inactive",
        todo="Calls are refused. Let somebody else answer for the key, or revoke it.",
    ),
    Check(
        condition="team-disabled",
        grade="bad",
        one="belongs to a disabled team",
        many="belong to disabled teams",
        todo="Calls are refused. Enable the team, or revoke its keys.",
    ),
    Check(
        condition="old-secret",
        grade="bad",
        one="is still called with an old secret that is about to end",
        many="are still called with old secrets that are about to end",
        todo="Somebody has not changed to the new secret. Tell them before their calls fail.",
    ),
    Check(
        condition="old-secret-tried",
        grade="warn",
        one="is still tried with a secret that has ended",
        many="are still tried with secrets that have ended",
        todo="Somebody has not changed to the new secret, and their calls fail. Find them by the key's owner.",
    ),
    Check(
        condition="tried",
        grade="warn",
        one="is not active and still tried",
        many="are not active and still tried",
        todo="Somebody calls with a key that is expired, disabled or revoked. Give them another, or ask who it is.",
    ),
    Check(
        condition="expiring",
        grade="warn",
        one=f"expires within {SOON.days} days",
        many=f"expire within {SOON.days} days",
        todo="Extend the key, or let its users know that it ends.",
    ),
    Check(
        condition="budget-near",
        grade="warn",
        one="has a budget past its warning",
        many="have budgets past their warning",
        todo="Once a budget is spent, calls are refused with 402. Raise it for now, or tell who uses it.",
    ),
    Check(
        condition="unlimited",
        grade="warn",
        one="has no limit and no budget",
        many="have no limit and no budget",
        todo="A loop in somebody's program may spend without end. Set a limit or a budget, on the key or its team.",
    ),
    Check(
        condition="endless",
        grade="warn",
        one="never expires",
        many="never expire",
        todo="A key that leaks works until somebody notices. Give it an end, or say on its page why it has none.",
    ),
    Check(
        condition="idle",
        grade="warn",
        one=f"was not used for {LONG_AGO.days} days",
        many=f"were not used for {LONG_AGO.days} days",
        todo="What nobody needs, nobody should have. Disable the key; if nobody asks, revoke it.",
    ),
    Check(
        condition="meant-endless",
        grade="quiet",
        one="is meant never to expire",
        many="are meant never to expire",
        todo="Its page has the reason. Where that no longer holds, give the key an end.",
    ),
    Check(
        condition="unused",
        grade="quiet",
        one="was never used",
        many="were never used",
        todo="A key may be new. If it was forgotten, revoke it.",
    ),
]
"""The most urgent first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """Some keys, and what to do about them."""

    advice: Check
    count: int
    keys: Sequence[APIKey] = ()
    """The first few of them, with their owners and teams."""

    @property
    def words(self) -> str:
        """Such as: 3 keys never expire."""
        return f"1 key {self.advice.one}" if self.count == 1 else f"{self.count:,} keys {self.advice.many}"

    @property
    def filters(self) -> dict[str, str]:
        """What shows them in the list of keys."""
        name = self.advice.condition
        return {"look" if conditions.NAMED[name] in ACTIVE_FLAGS else "state": name}

    @property
    def query(self) -> str:
        """The same as the query of an address."""
        return urlencode(self.filters)

    @property
    def needs_attention(self) -> bool:
        return self.advice.grade != "quiet"

    @property
    def more(self) -> int:
        """How many there are besides the first few."""
        return self.count - len(self.keys)


@dataclass(frozen=True, kw_only=True, slots=True)
class Hygiene:
    """All there is to say at a moment."""

    findings: list[Finding] = field(default_factory=list)
    unpriced: list[Unpriced] = field(default_factory=list)

    @property
    def needs_attention(self) -> bool:
        return bool(self.unpriced) or any(finding.needs_attention for finding in self.findings)


def examine() -> Hygiene:
    """Everything. Two queries that count, one for the keys of each finding, and three for models."""
    found = [Finding(advice=each.advice, count=each.count, keys=_first(each)) for each in in_short()]
    return Hygiene(findings=found, unpriced=unpriced.models())


def in_short() -> list[Finding]:
    """The findings without their keys. Two queries."""
    counted = conditions.counts(APIKey.objects.all(), [*STATES, *INACTIVE_FLAGS])
    counted |= conditions.counts(APIKey.objects.all(), ACTIVE_FLAGS)
    return [Finding(advice=each, count=counted[each.condition]) for each in ADVICE if counted[each.condition]]


def _first(finding: Finding) -> list[APIKey]:
    described = APIKey.objects.with_last_use().select_related("owner", "team")
    keys = conditions.keys_that_are(finding.advice.condition, among=described)
    soonest = F("expires_at").asc(nulls_last=True) if finding.advice.condition == "expiring" else "-created_at"
    return list(keys.order_by(soonest, "-pk")[:SHOWN])
