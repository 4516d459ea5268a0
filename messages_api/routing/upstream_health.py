"""Whether an upstream is asked, and if not, why and until when, as the process that tells it knows it."""

from dataclasses import dataclass
from datetime import UTC, datetime

from django.utils import timezone

from messages_api.gateway import request
from messages_api.models import Upstream


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    kind: str
    """How it is marked: good, warn or bad."""
    word: str
    why: str = ""


def state_of(upstream: Upstream) -> State:
    if not upstream.enabled:
        return State(kind="warn", word="Disabled")
    circuit = request.circuits.of(upstream.endpoint())
    if (opened := circuit.opened) is None:
        failing = f"{circuit.failures} failures in a row" if circuit.failures > 1 else ""
        return State(kind="good", word="Healthy", why=failing)
    since = timezone.localtime(datetime.fromtimestamp(opened.since, UTC))
    again = f"tried again in {circuit.next_probe_in_s:.0f} s"
    return State(kind="bad", word="Skipped", why=f"{opened.reason} since {since:%H:%M:%S}; {again}")
