"""Start of a Python process under libfaketime: `time.sleep` without clock_nanosleep.

libfaketime 0.9.10 makes an invalid argument of an absolute time of the monotonic clock, which Python's own sleep uses.
"""

import time
from select import select  # the function itself: gevent replaces the attribute of the module


def sleep(seconds: float) -> None:
    select((), (), (), seconds)


time.sleep = sleep  # type: ignore[assignment]
