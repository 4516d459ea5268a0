"""The official TypeScript SDKs as readers of a stream: one process of node, which reads a line per stream."""

import json
import subprocess
from typing import Any

from tests import clients
from tests.differential.python_sdks import completion_reading, message_reading


class TypeScriptSDKs:
    """Both SDKs in a process of their own. `close()` ends it."""

    def __init__(self) -> None:
        command = ["node", str(clients.FOLDER / "read_streams.mjs")]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def close(self) -> None:
        self._process.communicate()

    def read(self, api: str, writes: list[bytes], *, beta: bool = False, helper: bool = False) -> dict[str, Any]:
        """Return the reading of a stream, or `{"error": …}` for what the SDK throws."""
        stream = {"api": api, "writes": [write.decode() for write in writes], "beta": beta, "helper": helper}
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(stream) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "node ended"
        read: dict[str, Any] = json.loads(line)
        if "error" in read:
            return read
        return message_reading(read) if api == "anthropic" else completion_reading(read)
