"""Hygiene checks: the severity, title and recommendation of each condition that is reported."""

from dataclasses import dataclass

from django.db.models import TextChoices

from keys.hygiene.conditions import EXPIRES_SOON, IDLE_AFTER


class Severity(TextChoices):
    """How soon a finding needs attention."""

    CRITICAL = "critical", "Critical"
    """Requests are rejected, or soon will be."""
    WARNING = "warning", "Warning"
    INFO = "info", "Info"
    """Needs no attention."""

    @property
    def badge_kind(self) -> str:
        return {Severity.CRITICAL: "bad", Severity.WARNING: "warn", Severity.INFO: "quiet"}[self]


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """A condition that is reported, and the texts of the report."""

    condition: str
    severity: Severity
    title_one: str
    """Follows "1 key"."""
    title_many: str
    """Follows the number of keys."""
    recommendation: str

    def title(self, count: int) -> str:
        """Return the title for a number of keys, such as: 3 keys never expire."""
        return f"1 key {self.title_one}" if count == 1 else f"{count:,} keys {self.title_many}"


CHECKS = [
    Check(
        condition="budget-exhausted",
        severity=Severity.CRITICAL,
        title_one="has an exhausted budget",
        title_many="have exhausted budgets",
        recommendation="Requests are rejected with 402 until the budget resets. Raise the budget temporarily or wait.",
    ),
    Check(
        condition="owner-inactive",
        severity=Severity.CRITICAL,
        title_one="has an inactive owner",
        title_many="have inactive owners",
        recommendation="Requests are rejected. Assign a new owner or revoke the key.",
    ),
    Check(
        condition="team-disabled",
        severity=Severity.CRITICAL,
        title_one="has a disabled team",
        title_many="have disabled teams",
        recommendation="Requests are rejected. Enable the team or revoke its keys.",
    ),
    Check(
        condition="old-secret-in-use",
        severity=Severity.CRITICAL,
        title_one="still uses a secret that is about to expire",
        title_many="still use secrets that are about to expire",
        recommendation="A client has not switched to the new secret. Notify the owner before its requests fail.",
    ),
    Check(
        condition="expired-secret-used",
        severity=Severity.WARNING,
        title_one="was used with an expired secret",
        title_many="were used with expired secrets",
        recommendation="A client has not switched to the new secret, and its requests are rejected. Notify the owner.",
    ),
    Check(
        condition="used-after-deactivation",
        severity=Severity.WARNING,
        title_one="was used after deactivation",
        title_many="were used after deactivation",
        recommendation="A client uses a key that is expired, disabled or revoked. Find the client, or issue a new key.",
    ),
    Check(
        condition="expiring",
        severity=Severity.WARNING,
        title_one=f"expires within {EXPIRES_SOON.days} days",
        title_many=f"expire within {EXPIRES_SOON.days} days",
        recommendation="Extend the key, or notify its users of the expiry.",
    ),
    Check(
        condition="budget-near-limit",
        severity=Severity.WARNING,
        title_one="has a budget above its alert threshold",
        title_many="have budgets above their alert threshold",
        recommendation="Requests are rejected with 402 once the budget is exhausted. Raise the budget temporarily, or "
        "notify the owner.",
    ),
    Check(
        condition="unlimited",
        severity=Severity.WARNING,
        title_one="has no limit and no budget",
        title_many="have no limit and no budget",
        recommendation="A runaway client could cause unlimited cost. Set a limit or budget on the key or its team.",
    ),
    Check(
        condition="no-expiry",
        severity=Severity.WARNING,
        title_one="never expires",
        title_many="never expire",
        recommendation="A leaked key stays valid until it is revoked. Set an expiry date or enter a reason.",
    ),
    Check(
        condition="idle",
        severity=Severity.WARNING,
        title_one=f"was not used for {IDLE_AFTER.days} days",
        title_many=f"were not used for {IDLE_AFTER.days} days",
        recommendation="Disable unused keys. Revoke them if no owner objects.",
    ),
    Check(
        condition="no-expiry-with-reason",
        severity=Severity.INFO,
        title_one="never expires (reason given)",
        title_many="never expire (reason given)",
        recommendation="The page of the key has the reason. Set an expiry date if it no longer applies.",
    ),
    Check(
        condition="never-used",
        severity=Severity.INFO,
        title_one="was never used",
        title_many="were never used",
        recommendation="The key may be new. Revoke it if it is not needed.",
    ),
]
"""All checks, the most severe first."""
