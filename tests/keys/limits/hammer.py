"""A process of its own that makes calls with many threads: `python -m tests.keys.limits.hammer <name> <threads>`.

For each line of limits, as JSON, it prints how many of its calls got through; it holds what they took until it ends. It
is patient with Redis: on a machine that is busy with all of this, an answer may be late.
"""

import json
import sys
import threading
from contextlib import suppress
from typing import Any

import django

django.setup()

from keys.errors import RateLimitExceeded  # noqa: E402
from keys.limits.limiter import Limiter, Limits  # noqa: E402
from lib.shared_store import Store  # noqa: E402

CALLS_A_THREAD = 10


def main(name: str, threads: int) -> None:
    limiter = Limiter(Store())
    print("ready", flush=True)
    for number, line in enumerate(sys.stdin):
        print(hammer(limiter, json.loads(line), name=f"{name}-{number}", threads=threads), flush=True)


def hammer(limiter: Limiter, limits: list[dict[str, Any]], *, name: str, threads: int) -> int:
    """How many calls got through."""
    got_through: list[str] = []

    def call(thread: int) -> None:
        for number in range(CALLS_A_THREAD):
            request_id = f"{name}-{thread}-{number}"
            with suppress(RateLimitExceeded):
                limiter.consume(request_id, [Limits(**each) for each in limits], tokens=1, lease_s=60)
                got_through.append(request_id)

    running = [threading.Thread(target=call, args=(thread,)) for thread in range(threads)]
    for each in running:
        each.start()
    for each in running:
        each.join()
    return len(got_through)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
