"""Headers about budgets, in the form that Claude Code reads."""

from datetime import UTC, datetime

import pytest

from keys.domain.limits import BudgetStanding, budget_headers, exceeded_headers

RESETS_AT = datetime(2026, 12, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("spent", "utilization", "status", "threshold"),
    [
        (0, "0.00", "allowed", None),
        (749, "0.74", "allowed", None),
        (750, "0.75", "allowed_warning", "0.75"),
        (949, "0.94", "allowed_warning", "0.75"),
        (950, "0.95", "allowed_warning", "0.95"),
        (1_000, "0.99", "allowed_warning", "0.95"),  # below 1 while requests are admitted
        (5_000, "0.99", "allowed_warning", "0.95"),
        (-5, "0.00", "allowed", None),
    ],
)
def test_an_admitted_request_states_the_share_that_is_spent(
    spent: int, utilization: str, status: str, threshold: str | None
) -> None:
    expected = {
        "anthropic-ratelimit-unified-status": status,
        "anthropic-ratelimit-unified-representative-claim": "overage",
        "anthropic-ratelimit-unified-overage-status": status,
        "anthropic-ratelimit-unified-overage-utilization": utilization,
        "anthropic-ratelimit-unified-reset": "1796083200",
        "anthropic-ratelimit-unified-overage-reset": "1796083200",
    }
    if threshold:
        expected["anthropic-ratelimit-unified-overage-surpassed-threshold"] = threshold

    assert budget_headers([BudgetStanding(spent, 1_000, RESETS_AT)]) == expected


def test_the_fullest_budget_is_stated_and_none_without_one() -> None:
    standings = [BudgetStanding(10, 1_000, RESETS_AT), BudgetStanding(80, 100, None), BudgetStanding(0, 50, RESETS_AT)]

    headers = budget_headers(standings)

    assert headers["anthropic-ratelimit-unified-overage-utilization"] == "0.80"
    assert "anthropic-ratelimit-unified-reset" not in headers  # it never resets
    assert budget_headers([]) == {}


def test_a_rejected_request_names_no_kind_of_cap_so_that_its_message_is_shown() -> None:
    standing = BudgetStanding(1_000, 1_000, RESETS_AT)

    assert exceeded_headers(standing, scope="team", period="week") == {
        "anthropic-ratelimit-unified-status": "rejected",
        "anthropic-ratelimit-unified-overage-utilization": "1.00",
        "anthropic-ratelimit-unified-overage-disabled-reason": "org_spend_cap_reached",
        "anthropic-ratelimit-unified-overage-period": "weekly",
        "anthropic-ratelimit-unified-overage-scope": "group_pool",
        "anthropic-ratelimit-unified-reset": "1796083200",
        "anthropic-ratelimit-unified-overage-reset": "1796083200",
    }
    assert "anthropic-ratelimit-unified-overage-period" not in exceeded_headers(standing, scope="key", period="total")
