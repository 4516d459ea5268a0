"""Django's password hash, computed beside the event loop: a login must not hold up a stream."""

import threading
from typing import Any

from django.contrib.auth.hashers import PBKDF2PasswordHasher

from lib import threads

_one_at_a_time = threading.Lock()
"""Whoever sends logins in their hundreds occupies one core, not all."""


class ThreadedPBKDF2Hasher(PBKDF2PasswordHasher):
    """The same hashes under the same name. A third of a second each, during which a greenlet would stop all others."""

    def encode(self, password: str, salt: str, iterations: int | None = None) -> str:
        if not threads.is_cooperative():
            return super().encode(password, salt, iterations)
        with _one_at_a_time:
            return _beside(super().encode, password, salt, iterations)


def _beside(encode: Any, *arguments: Any) -> str:
    """Run in a real thread: the hash lets go of the interpreter while it is computed."""
    done = threads.signal()
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append(encode(*arguments))
        except BaseException as error:  # raised again where somebody waits for it
            outcome.append(error)
        finally:
            done.set_from_thread()

    threads.run_in_thread(run)
    done.wait()
    [result] = outcome
    if isinstance(result, BaseException):
        raise result
    return str(result)
