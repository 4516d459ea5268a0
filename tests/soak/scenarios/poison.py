"""Calls whose rows the database does not take, among a hundred that share their batches: the others do not notice."""

import asyncio
from typing import Any

from tests.soak.books import Books, Run, play
from tests.soak.orders import Order
from tests.soak.site import Installation, Site

NO_ROW = "no-row"
NO_SETTLEMENT = "no-settlement"
ODD_ADDRESS = "odd-address"
LAST_KEY = -1
Sent = tuple[Order, dict[str, Any]]


def run(site: Site, *, calls: int) -> Run:
    """Send calls at once: one with a secret that is gone, one whose settlement is refused, one from an odd address."""
    with site.installation(TRUSTED_PROXIES="127.0.0.1") as installation:
        return play(lambda run: _run(run, installation, calls))


async def _run(run: Run, installation: Installation, calls: int) -> None:
    await _spoil(installation)
    poisonous: list[Sent] = [
        (Order(id=NO_ROW, streamed=False), {"key": LAST_KEY}),
        (Order(id=NO_SETTLEMENT, streamed=False), {}),
        (Order(id=ODD_ADDRESS, streamed=False), {"headers": {"X-Forwarded-For": "fe80::1%eth0"}}),
    ]
    good: list[Sent] = [
        (Order(id=f"good-{number:04d}", streamed=False), {}) for number in range(calls - len(poisonous))
    ]
    mixed = [*good[: calls // 2], *poisonous, *good[calls // 2 :]]

    visits = await asyncio.gather(*(installation.call(order, **how) for order, how in mixed))
    await installation.all_settled(within_s=30)

    books = Books(installation, (visit for visit in visits if visit.id not in (NO_ROW, NO_SETTLEMENT)))
    books.balance(run)
    told = {visit.id: visit.status for visit in visits}
    kept = (installation.state / "spool" / "quarantine.jsonl").read_text()
    status = {row["client_request_id"]: row["status"] for row in installation.ledger()}
    run.figures |= {
        "good ones stored": sum(books.status(order.id) == "completed" for order, _ in good),
        "the one without a row": told[NO_ROW],
        "the one whose settlement is refused": f"{status[NO_SETTLEMENT]}, kept aside: {NO_SETTLEMENT in kept}",
        "the one from an odd address": books.status(ODD_ADDRESS),
        "slowest answer": f"{max(visit.took_s for visit in visits):.2f} s",
    }
    run.expect("every good call is stored", all(books.status(order.id) == "completed" for order, _ in good))
    run.expect("a call that cannot have a row is refused", told[NO_ROW] == 503 and NO_ROW not in status)
    run.expect("a settlement that cannot be written is kept aside", kept.count("\n") == 1 and NO_SETTLEMENT in kept)
    run.expect("and its row does not stay open", status[NO_SETTLEMENT] == "interrupted")
    run.expect("an address with a zone is an address", books.status(ODD_ADDRESS) == "completed")


async def _spoil(installation: Installation) -> None:
    """Let the gateway know a key whose secret is gone, and the database refuse one settlement."""
    await _show_key(installation, installation.keys[LAST_KEY])
    secret = "(SELECT max(id) FROM keys_keysecret)"
    installation.database.rows(f"DELETE FROM keys_keysecret WHERE id = {secret}")
    installation.database.rows(
        "ALTER TABLE keys_usagerecord ADD CONSTRAINT poison "
        f"CHECK (client_request_id <> '{NO_SETTLEMENT}' OR message_id = '')"
    )


async def _show_key(installation: Installation, raw_key: str) -> None:
    """Make a call that leaves no row, so that the key's snapshot is in the gateway's memory."""
    reader, writer = await asyncio.open_connection("127.0.0.1", installation.port)
    head = (
        f"GET /api/anthropic/v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\nx-api-key: {raw_key}\r\nConnection: close\r\n\r\n"
    )
    writer.write(head.encode())
    answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 200"), answer[:200]
