"""Password hasher that runs in a real thread, so that a sign-in does not block the event loop of a worker."""

import threading
from typing import Any

from django.contrib.auth.hashers import PBKDF2PasswordHasher

from lib import threads

_one_hash_at_a_time = threading.Lock()
"""A flood of sign-ins occupies one core, not all."""


class ThreadedPBKDF2Hasher(PBKDF2PasswordHasher):
    """PBKDF2 with the same algorithm name and hashes. A hash takes 0.3 s, which would block every other greenlet."""

    def encode(self, password: str, salt: str, iterations: int | None = None) -> str:
        if not threads.is_cooperative():
            return super().encode(password, salt, iterations)
        with _one_hash_at_a_time:
            return _in_thread(super().encode, password, salt, iterations)


def _in_thread(encode: Any, *arguments: Any) -> str:
    """Run in a real thread: hashing releases the interpreter lock."""
    done = threads.signal()
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append(encode(*arguments))
        except BaseException as error:  # raised again in the waiting greenlet
            outcome.append(error)
        finally:
            done.set_from_thread()

    threads.run_in_thread(run)
    done.wait()
    [result] = outcome
    if isinstance(result, BaseException):
        raise result
    return str(result)
