"""Large bodies hold up no other client: neither those that are rejected, nor those that are read and parsed."""

import json
import subprocess
import sys
import time
from typing import Any

import pytest

from keys.models import APIKey
from tests.attacks import flood
from tests.support import ROOT
from tests.support.gateway import Gateway, read_until
from tests.upstream import Reply, replied

PATH = "/api/v1/messages"
STREAM: dict[str, Any] = {
    "model": "routed",
    "max_tokens": 10_000,
    "stream": True,
    "messages": [{"role": "user", "content": "Hi"}],
}
EVENTS, EVERY_S = 300, 0.01
MAX_GAP_S = 0.5
"""Between two events of a stream beside the flood. Without turns and slices it was 0.7 s to 3 s."""
TRIES = 3  # other processes of a busy machine hold the worker up as well


def start_flood(gateway: Gateway, raw_key: str, shape: str, *, clients: int, seconds: float) -> subprocess.Popen[str]:
    words = [str(gateway.port), raw_key, shape, str(clients), str(seconds)]
    return subprocess.Popen(
        [sys.executable, "-m", "tests.attacks.flood", *words], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )


def longest_gap_s(gateway: Gateway) -> float:
    """Read a stream to its end. Return the longest time between two reads."""
    with gateway.open(PATH, STREAM) as connection:
        read_until(connection, b"data:")
        last, longest, received = time.monotonic(), 0.0, b""
        while b"[DONE]" not in received:
            received = received[-20:] + connection.recv(65536)
            now = time.monotonic()
            longest, last = max(longest, now - last), now
    return longest


@pytest.mark.parametrize("shape", flood.SHAPES)
@pytest.mark.parametrize("is_limited", [True, False], ids=["429 before the body", "404 after the body"])
def test_a_stream_beside_a_flood_of_large_bodies_goes_on(gateway: Gateway, shape: str, is_limited: bool) -> None:
    gateway.upstream_row.targets.all().delete()
    gateway.add_route("routed", gateway.upstream_row)
    attacker, raw_key = APIKey.objects.issue(name="attacker", owner=gateway.owner)
    if is_limited:
        attacker.requests_per_minute = 1
        attacker.save()
        headers = {"Authorization": f"Bearer {raw_key}"}
        while gateway.post(PATH, STREAM | {"stream": False}, headers=headers).status != 429:
            pass  # its only request of this minute is used up

    gaps = []
    for _ in range(TRIES):
        gateway.upstream.queue(replied(Reply(["word "] * EVENTS), every_s=EVERY_S))
        flooding = start_flood(gateway, raw_key, shape, clients=4, seconds=EVENTS * EVERY_S)
        gaps.append(longest_gap_s(gateway))
        output, _ = flooding.communicate(timeout=120)
        statuses = json.loads(output)
        assert set(statuses) <= ({"429", "200"} if is_limited else {"404"}) and sum(statuses.values()) >= 2
        if gaps[-1] < MAX_GAP_S:
            break

    assert min(gaps) < MAX_GAP_S
