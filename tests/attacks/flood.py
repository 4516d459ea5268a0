"""A client process that floods a gateway with large bodies.

`python -m tests.attacks.flood <port> <key> <shape> <clients> <seconds>` prints how many responses had each status. It
is a process of its own, so that it does not slow down the client that a test measures.
"""

import http.client
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable

PATH = "/api/anthropic/v1/messages"


def request(**fields: object) -> bytes:
    message = {"role": "user", "content": "Hi"}
    return json.dumps({"model": "m", "max_tokens": 10, "messages": [message], **fields}).encode()


SHAPES: dict[str, Callable[[], bytes]] = {
    "many messages": lambda: request(messages=[{"role": "user", "content": "a" * 60}] * 33_000),
    "text": lambda: request(messages=[{"role": "user", "content": "ab\n" * 8_000_000}]),
    "quotes": lambda: request(messages=[{"role": "user", "content": '"' * 15_000_000}]),
}


def main(port: int, key: str, shape: str, clients: int, seconds: float) -> None:
    body = SHAPES[shape]()
    statuses: Counter[str] = Counter()
    ends_at = time.monotonic() + seconds

    def client() -> None:
        while time.monotonic() < ends_at:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            try:
                connection.request("POST", PATH, body, {"Authorization": f"Bearer {key}"})
                response = connection.getresponse()
                response.read()
                statuses[str(response.status)] += 1
            except OSError as error:
                statuses[type(error).__name__] += 1
            finally:
                connection.close()

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps(statuses))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]), float(sys.argv[5]))
