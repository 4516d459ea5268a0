"""Health of an upstream as this process knows it."""

from dataclasses import dataclass
from datetime import UTC, datetime

from django.utils import timezone

from messages_api.models import Upstream
from messages_api.routing.redis_circuits import circuit_breakers


@dataclass(frozen=True, kw_only=True, slots=True)
class UpstreamHealth:
    kind: str
    """Kind of its badge: good, warn or bad."""
    label: str
    detail: str = ""


def health_of(upstream: Upstream) -> UpstreamHealth:
    """Return whether requests are sent to an upstream, and if not, why and until when."""
    if not upstream.enabled:
        return UpstreamHealth(kind="warn", label="Disabled")
    breaker = circuit_breakers.of(upstream.endpoint())
    if (state := breaker.open_state) is None:
        failures = breaker.consecutive_failures
        detail = f"{failures} consecutive failures" if failures > 1 else ""
        if keys := breaker.open_keys:
            detail += f", circuit open for {keys} API key{'s' if keys > 1 else ''}"
        return UpstreamHealth(kind="good", label="Healthy", detail=detail)
    since = timezone.localtime(datetime.fromtimestamp(state.since, UTC))
    detail = f"{state.reason} since {since:%H:%M:%S}; next probe in {breaker.next_probe_in_s():.0f} s"
    return UpstreamHealth(kind="bad", label="Circuit open", detail=detail)
