"""Random requests with every dimension, around the clock changes of New York, as rows that the ledger writes."""

from collections.abc import Iterator
from datetime import UTC, datetime
from random import Random
from typing import Any

from django.contrib.auth.models import User

from keys.models import APIKey, Team
from keys.usage import statements
from keys.usage.rollup_statements import COUNT_COLUMNS
from keys.usage.rows import Row, Settlement, Status
from tests.support.usage_rows import admission_of

PERIODS = [
    (datetime(2026, 3, 8, tzinfo=UTC), datetime(2026, 3, 9, 6, tzinfo=UTC)),  # clocks of New York go forward
    (datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 11, 2, 6, tzinfo=UTC)),  # and back
]
TEXTS = {
    "model": ["claude-opus", "claude-haiku", "gpt", "q" * 256],
    "api_format": ["envelope", "anthropic", "openai"],
    "agent_id": ["", "agent-1", "agent-2"],
    "session_id": ["", *(f"session-{number}" for number in range(40))],
}
OUTCOMES: list[dict[str, Any]] = [
    *[{"status": Status.COMPLETED, "usage_source": "reported"}] * 8,
    {"status": Status.FAILED, "error_type": "invalid_request_error", "usage_source": "none"},
    {"status": Status.FAILED, "error_type": "overloaded_error", "usage_source": "estimated"},
    {"status": Status.CLIENT_CLOSED, "usage_source": "partial"},
    {"status": Status.CLIENT_STALLED, "usage_source": "reported"},
    {"status": Status.REJECTED, "error_type": "rate_limit_error", "is_model_known": False},
]


class RandomRequests:
    """Random requests of several keys, some of which move to another team."""

    def __init__(self, random: Random, owner: User) -> None:
        self.random = random
        teams = [Team.objects.create(name=f"team {number}") for number in range(3)]
        owners = [owner, User.objects.create_user("second")]
        of_keys: list[dict[str, Any]] = [*({"team": team} for team in teams), *({"owner": each} for each in owners)]
        self.keys = [APIKey.objects.issue(name=f"app {i}", **each)[0] for i, each in enumerate(of_keys)]
        self.teams: list[int | None] = [None, *(team.pk for team in teams)]
        self.admissions = [admission_of(key) for key in self.keys]

    def rows(self, count: int) -> Iterator[Row]:
        for number in range(count):
            yield self._row(number)

    def _row(self, number: int) -> Row:
        random = self.random
        begin, end = random.choice(PERIODS)
        template = random.choice(self.admissions)
        changes = {name: random.choice(values) for name, values in TEXTS.items()}
        is_moved = random.random() < 0.2
        admission = admission_of_template(
            template,
            id=f"req_{number:032d}",
            created_at=begin + random.random() * (end - begin),
            team_id=random.choice(self.teams) if is_moved else template.team_id,
            **changes,
            tags=random.choice([None, {"project": "apollo"}, {"project": "gemini", "stage": "test"}]),
        )
        outcome = random.choice(OUTCOMES)
        was_admitted = outcome["status"] != Status.REJECTED
        return statements.closed(admission, Settlement(**outcome, **(self._figures() if was_admitted else {})))

    def _figures(self) -> dict[str, Any]:
        random = self.random
        upstream = random.choice(["anthropic", "openai", "local"])
        return {
            "upstream": upstream,
            "upstream_model": random.choice(["a", "b"]),
            **{name: random.choice([None, 0, random.randint(1, 10**6)]) for name in COUNT_COLUMNS},
            # Sums beyond 64 bits.
            "cost_usd_picos": random.choice([None, 0, random.randint(1, 10**6), random.randint(1, 9 * 10**18)]),
            "cache_savings_usd_picos": random.choice([None, random.randint(-(9 * 10**18), 9 * 10**18)]),
            "ttft_ms": random.choice([None, int(random.lognormvariate(6, 1))]),
            "duration_ms": random.choice([None, int(random.lognormvariate(8, 1))]),
        }


def admission_of_template(template: Any, **changes: Any) -> Any:
    return type(template)(
        **{name: getattr(template, name) for name in ("api_key_id", "secret_id", "owner_id", "streamed")},
        estimated_input_tokens=1,
        lease_s=10.0**8,
        **changes,
    )
