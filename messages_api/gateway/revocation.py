"""Termination of in-flight requests whose key was revoked as compromised."""

from keys.models import APIKey
from messages_api.gateway.request import InFlightRequest
from messages_api.watcher import watcher


def terminate_requests_of_compromised_keys() -> None:
    """End the in-flight requests of compromised keys with a 401. Runs every few seconds in each worker."""
    in_flight = [request for request in watcher.requests if isinstance(request, InFlightRequest)]
    if not in_flight:
        return
    compromised = set(APIKey.objects.compromised().values_list("pk", flat=True))
    for request in in_flight:
        if request.key_id in compromised:
            request.on_key_compromised()
