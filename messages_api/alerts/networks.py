"""Networks from which API keys are used, learned from usage records; a new one of a known key is a condition."""

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.urls import reverse
from django.utils import timezone

from keys.models import APIKey, UsageRecord
from messages_api.alerts.condition import AlertCondition
from messages_api.models import AlertRule, AlertState, KnownNetwork

LEARNED_DAYS = 7
"""How far back networks are learned when the first rule of the kind is enabled."""
OVERLAP = timedelta(seconds=60)
"""Records are written after their time: those of the last minute are read again."""
MAX_RECORDS = 5_000
"""Records of one evaluation. The next one reads the rest."""
MAX_NETWORKS = 500
"""Networks of one key. A key with more is used from everywhere, and has no further incidents."""
KEPT = timedelta(days=90)
DAY = timedelta(days=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Uses:
    """The networks of some requests."""

    first: dict[tuple[int, str], tuple[str, datetime]]
    """The first record and its time of each key and network."""
    until: datetime
    """Until when records were read."""


def read(state: AlertState, *, now: datetime) -> Uses:
    """Read the records since the last evaluation, at most `MAX_RECORDS`."""
    begin = (state.networks_until or now - timedelta(days=LEARNED_DAYS)) - OVERLAP
    end = _end(begin, now)
    return Uses(first=_used(begin, end), until=end)


def conditions(
    rules: list[AlertRule], uses: Uses, state: AlertState, *, now: datetime
) -> Iterator[tuple[AlertRule, AlertCondition]]:
    """Learn networks, and yield the keys that were first used from one.

    To be called in the transaction that opens the incidents: what is learned has no incident later.
    """
    since = state.networks_since or now
    for key, network, record in _new(uses.first, since):
        condition = _condition(key, network, record)
        yield from ((rule, condition) for rule in rules if rule.team_id in (None, key.team_id))
    AlertState.objects.filter(pk=state.pk).update(networks_since=since, networks_until=uses.until)


def forget_progress(state: AlertState) -> None:
    """Without rules nothing is read. A rule that is enabled later learns first."""
    if state.networks_until is not None:
        AlertState.objects.filter(pk=state.pk).update(networks_since=None, networks_until=None)


def network_of(client_ip: str) -> str:
    """Return the network of a client IP: /24 of IPv4, also where it is mapped into IPv6, /64 of IPv6."""
    ip = ipaddress.ip_address(client_ip)
    ip = getattr(ip, "ipv4_mapped", None) or ip
    return str(ipaddress.ip_network((ip, 24 if ip.version == 4 else 64), strict=False))


def _end(begin: datetime, now: datetime) -> datetime:
    """Return until when records are read: now, or earlier where there are too many."""
    moments = UsageRecord.objects.filter(created_at__gte=begin, created_at__lt=now).order_by("created_at")
    return next(iter(moments.values_list("created_at", flat=True)[MAX_RECORDS : MAX_RECORDS + 1]), now)


def _used(begin: datetime, end: datetime) -> dict[tuple[int, str], tuple[str, datetime]]:
    """Return a record and its time of each key and network, the first one that was used."""
    records = UsageRecord.objects.filter(created_at__gte=begin, created_at__lte=end).exclude(client_ip=None)
    rows = records.order_by("created_at").values_list("api_key_id", "client_ip", "pk", "created_at")
    found: dict[tuple[int, str], tuple[str, datetime]] = {}
    networks: dict[str, str] = {}
    for key_id, client_ip, id, created_at in rows.iterator():
        address = str(client_ip)
        network = networks.get(address) or networks.setdefault(address, network_of(address))
        found.setdefault((key_id, network), (id, created_at))
    return found


def _new(
    used: dict[tuple[int, str], tuple[str, datetime]], since: datetime
) -> Iterator[tuple[APIKey, str, tuple[str, datetime]]]:
    """Learn networks, and yield those that are new to a key which has known ones. The first one of a key is learned."""
    key_ids = {key_id for key_id, _ in used}
    keys = APIKey.objects.select_related("team").in_bulk(key_ids)
    known: dict[int, dict[str, KnownNetwork]] = {key_id: {} for key_id in key_ids}
    for row in KnownNetwork.objects.filter(api_key_id__in=key_ids):
        known[row.api_key_id][row.network] = row
    for (key_id, network), record in sorted(used.items(), key=lambda item: item[1][1]):
        of_key, (_, at) = known[key_id], record
        if network in of_key:
            _renew(of_key[network], at)
            continue
        if len(of_key) >= MAX_NETWORKS or key_id not in keys:
            continue
        row, is_created = KnownNetwork.objects.get_or_create(
            api_key_id=key_id, network=network, defaults={"first_seen_at": at, "last_seen_at": at}
        )
        is_first = not of_key
        of_key[network] = row
        if is_created and not is_first and at > since:
            yield keys[key_id], network, record


def _renew(row: KnownNetwork, at: datetime) -> None:
    if at - row.last_seen_at >= DAY:
        row.last_seen_at = at
        row.save(update_fields=["last_seen_at"])


def forget_unused() -> None:
    """Delete networks that were not seen for ninety days. Any number of processes may do it."""
    KnownNetwork.objects.filter(last_seen_at__lt=timezone.now() - KEPT).delete()


def _condition(key: APIKey, network: str, record: tuple[str, datetime]) -> AlertCondition:
    id, at = record
    path = reverse("admin:keys_usagerecord_change", args=[id])
    values: dict[str, Any] = {"began_at": at, "ended_at": at}
    return AlertCondition(
        subject=f"key:{key.public_id}",
        title=f"Key {key.name} ({key.public_id}) was used from a new network, {network}",
        detail=f"First request {id}. If it is not expected, disable the key and rotate it.",
        path=path,
        **values,
    )
