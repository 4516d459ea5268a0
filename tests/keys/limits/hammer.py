"""A client process of the limiter with many threads: `python -m tests.keys.limits.hammer <name> <threads>`.

For each line of limits, as JSON, it prints how many of its requests were admitted. The line `release` releases them.
Its timeout for Redis is long: this load makes responses late on a busy machine.
"""

import json
import sys
import threading
from contextlib import suppress
from typing import Any

import django

django.setup()

from keys.errors import RateLimitExceeded  # noqa: E402
from keys.limits.limiter import Limiter, LimitGrant, Limits  # noqa: E402
from lib.shared_store import SharedStore  # noqa: E402

REQUESTS_PER_THREAD = 10


def main(name: str, threads: int) -> None:
    store = SharedStore()
    limiter = Limiter(store)
    grants: list[LimitGrant] = []
    print("ready", flush=True)
    for number, line in enumerate(sys.stdin):
        if line.strip() == "release":
            while grants:
                limiter.release(grants.pop())
            limiter.close()  # it must not count as a worker in the next test
            limiter = Limiter(store)
            print("released", flush=True)
            continue
        admitted = hammer(limiter, json.loads(line), name=f"{name}-{number}", threads=threads)
        grants += admitted
        print(len(admitted), flush=True)


def hammer(limiter: Limiter, limits: list[dict[str, Any]], *, name: str, threads: int) -> list[LimitGrant]:
    """Return the grants of the requests that were admitted."""
    admitted: list[LimitGrant] = []

    def request(thread: int) -> None:
        for number in range(REQUESTS_PER_THREAD):
            with suppress(RateLimitExceeded):
                grant = limiter.consume(f"{name}-{thread}-{number}", [Limits(**each) for each in limits], lease_s=60)
                limiter.consume_tokens(grant, tokens=1)
                admitted.append(grant)

    running = [threading.Thread(target=request, args=(thread,)) for thread in range(threads)]
    for each in running:
        each.start()
    for each in running:
        each.join()
    return admitted


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
