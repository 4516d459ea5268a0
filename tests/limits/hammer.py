"""A process of its own that makes calls with many threads at once: `python -m tests.limits.hammer <threads> <calls>`.

Begins when it reads a line with limits, as JSON. Prints how many calls got through. Is patient with Redis: on a machine
that is busy with all of this, an answer may be late.
"""

import json
import sys
import threading

import django

django.setup()

from keys.errors import LimitReached  # noqa: E402
from keys.limits import Limiter, Limits  # noqa: E402
from keys.store import Store  # noqa: E402


def main(name: str, threads: int, calls: int) -> None:
    print("ready", flush=True)
    limits = [Limits(**each) for each in json.loads(sys.stdin.readline())]
    limiter = Limiter(Store(answer_within_s=20))
    got_through: list[str] = []

    def call(thread: int) -> None:
        for number in range(calls):
            call_id = f"{name}-{thread}-{number}"
            try:
                limiter.take(call_id, limits, tokens=1, lease_s=60)
            except LimitReached:
                continue
            got_through.append(call_id)

    running = [threading.Thread(target=call, args=(thread,)) for thread in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    print(len(got_through), flush=True)
    sys.stdin.readline()  # what it holds, it holds until it is told to end


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
