"""
Measures the ledger alone: requests that are admitted and settled, without HTTP.

    cd CHECKOUT; DATABASE_URL=... python .../bench/ledger.py [--levels 1,16,64] [--seconds 3] [--count]

Prints one line of JSON per level: the CPU time per request of the thread that submits and of the writer's thread, and
the time of an admission. With `--count`, the statements and commits per request instead: counting takes time itself.
Runs in the checkout of any revision with the current columns, in a new and empty database.
"""

import gevent.monkey

gevent.monkey.patch_all()

import argparse  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import secrets  # noqa: E402
import statistics  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from collections import Counter  # noqa: E402
from datetime import UTC, datetime, timedelta  # noqa: E402
from typing import Any  # noqa: E402

import django  # noqa: E402
import gevent  # noqa: E402

STATE_DIR = tempfile.mkdtemp(prefix="messages-gateway-bench-")
DEFAULTS = {
    "ENV_FILE": f"{STATE_DIR}/none",
    "STATE_DIR": STATE_DIR,
    "SECRET_KEY": secrets.token_hex(40),
    "API_KEY_PEPPERS": secrets.token_hex(40),
    "CREDENTIAL_ENCRYPTION_KEYS": "Zm9yLXRlc3RzLW9ubHktZm9yLXRlc3RzLW9ubHktMTI=",
    "HTTPS": "false",
    "DJANGO_SETTINGS_MODULE": "project.settings",
}
for name, value in DEFAULTS.items():
    os.environ.setdefault(name, value)
sys.path[0] = os.getcwd()  # the code of the checkout, not of this file
django.setup()

from django.contrib.auth.models import User  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import connection  # noqa: E402
from django.db.backends.signals import connection_created  # noqa: E402
from django.utils import timezone  # noqa: E402

from keys.budgets.reservations import BudgetRef, ReservationRequest  # noqa: E402
from keys.models import APIKey, Budget, ModelPrice  # noqa: E402
from keys.pricing.price_book import prices  # noqa: E402
from keys.usage import ledger  # noqa: E402
from keys.usage.rows import Admission, Settlement  # noqa: E402

UPSTREAM_S = 0.005
counted: Counter[str] = Counter()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--levels", default="1,16,64", help="requests at the same time, separated by commas")
    parser.add_argument("--seconds", type=float, default=3, help="duration of each level")
    parser.add_argument("--count", action="store_true", help="count statements and commits")
    options = parser.parse_args()
    if options.count:
        connection_created.connect(_count_statements)
    gevent.spawn(_keep_alive)
    key, budget = _prepare()
    ledger.start()
    _run(4, 0.5, key, budget)
    for level in map(int, options.levels.split(",")):
        print(json.dumps(_measured(level, options, key, budget)), flush=True)
    ledger.close()


def _keep_alive() -> None:
    """Keep a timer in the event loop, as a server has: a loop without one ends while a thread is waited for."""
    while True:
        gevent.sleep(1)


def _prepare() -> tuple[Any, BudgetRef]:
    """Create the tables, a key with a budget that is out of reach, and a price."""
    call_command("migrate", interactive=False, verbosity=0)
    owner = User.objects.create(username="bench")
    key: Any
    key, _ = APIKey.objects.issue(name="bench", owner=owner, expires_at=datetime.now(UTC) + timedelta(days=30))
    key.secret_id = key.secrets.get().pk
    budget = Budget.objects.create(api_key=key, period="month", unit="usd", amount=10**12)
    ModelPrice.objects.create(
        model_pattern="*", input_price=3_000_000, output_price=15_000_000, valid_from=datetime(2026, 1, 1, tzinfo=UTC)
    )
    prices.book()
    return key, BudgetRef(id=budget.pk, scope="key", period="month", unit="usd")


def _measured(level: int, options: argparse.Namespace, key: Any, budget: BudgetRef) -> dict[str, Any]:
    counted.clear()
    commits = _commits()
    own, all_threads = time.thread_time(), time.process_time()
    waits = _run(level, options.seconds, key, budget)
    own, all_threads = time.thread_time() - own, time.process_time() - all_threads
    requests = len(waits)
    found = {"level": level, "database": connection.vendor, "requests": requests}
    if options.count:
        commits = counted["COMMIT"] or _commits() - commits
        per_commit = 2 * requests / commits
        return found | {
            "statements": round(counted.total() / requests, 2),
            "commits": round(commits / requests, 3),
            "records_per_commit": round(per_commit, 1),
            "by_kind": {kind: round(number / requests, 2) for kind, number in counted.most_common(12)},
        }
    return found | {
        "submitter_us": round(own / requests * 1e6),
        "writer_us": round((all_threads - own) / requests * 1e6),
        "admit_p50_ms": round(statistics.median(waits) * 1e3, 2),
        "per_s": round(requests / options.seconds),
    }


def _run(level: int, seconds: float, key: Any, budget: BudgetRef) -> list[float]:
    """Keep this number of requests in flight. Return how long each waited for its admission."""
    ends_at = time.monotonic() + seconds
    waits: list[float] = []

    def client() -> None:
        while time.monotonic() < ends_at:
            waits.append(_request(key, budget))

    gevent.joinall([gevent.spawn(client) for _ in range(level)], raise_error=True)
    return waits


def _request(key: Any, budget: BudgetRef) -> float:
    admission = Admission(
        id=f"req_{time.time_ns():016x}{secrets.token_hex(8)}",
        api_key_id=key.pk,
        secret_id=key.secret_id,
        owner_id=key.owner_id,
        api_format="envelope",
        model="claude-3-haiku",
        streamed=False,
        estimated_input_tokens=130,
        lease_s=600,
        upstream="upstream",
        upstream_model="mock",
        client_ip="127.0.0.1",
        user_agent="bench",
        created_at=timezone.now(),
        reservation_requests=[ReservationRequest(budget=budget, amount=4000)],
    )
    began = time.perf_counter()
    ledger.admit(admission)
    waited = time.perf_counter() - began
    gevent.sleep(UPSTREAM_S)
    settlement = Settlement(
        status="completed",
        http_status=200,
        stop_reason="end_turn",
        upstream="upstream",
        upstream_model="mock",
        upstream_request_id="req_upstream",
        message_id="msg_65169c45474bcbcdb772853a",
        attempts=[{"upstream": "upstream", "model": "mock", "status": 200, "ms": 25, "error": ""}],
        served_model="mock",
        usage_object={"input_tokens": 123, "output_tokens": 45},
        input_tokens=123,
        output_tokens=45,
        cache_read_tokens=0,
        cache_write_5m_tokens=0,
        cache_write_1h_tokens=0,
        usage_source="reported",
        duration_ms=25,
        ttft_ms=20,
        added_us=900,
    )
    ledger.settle(admission, settlement)
    return waited


def _count_statements(connection: Any, **_: Any) -> None:
    """Count the statements of a connection; on PostgreSQL, the responses that are waited for."""
    raw = connection.connection
    if connection.vendor == "sqlite":
        raw.set_trace_callback(lambda sql: counted.update([_kind(sql)]))
        return
    wait = raw.wait

    def counting(*arguments: Any, **named: Any) -> Any:
        counted["round trip"] += 1
        return wait(*arguments, **named)

    raw.wait = counting


def _kind(sql: str) -> str:
    words = sql.split(None, 8)
    found = " ".join(words[:1] if words[0] in ("BEGIN", "COMMIT", "ROLLBACK") else words[:3])
    return found[:60]


def _commits() -> int:
    if connection.vendor != "postgresql":
        return 0
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_clear_snapshot()")
        time.sleep(1.1)  # sessions report their transactions once per second
        cursor.execute("SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()")
        return int(cursor.fetchone()[0])


if __name__ == "__main__":
    main()
