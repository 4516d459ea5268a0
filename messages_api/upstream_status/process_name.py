"""The name of this process, for rows that several processes write."""

import os
import secrets
import socket

from lib.threads import OncePerProcess

MAX_HOST_LENGTH = 40


class ProcessName:
    """Host, process ID and a random part: process IDs are reused."""

    def __init__(self) -> None:
        self._made = OncePerProcess(self._make)
        self._name = ""

    def _make(self) -> None:
        self._name = f"{socket.gethostname()[:MAX_HOST_LENGTH]}-{os.getpid()}-{secrets.token_hex(4)}"

    def __str__(self) -> str:
        self._made.ensure()
        return self._name


process_name = ProcessName()
