"""Start, supervision and ordered stop of the gateway and of the embedded model."""

import os
import sys
import time
from pathlib import Path
from typing import Self

from django.conf import settings

from messages_api.management.commands.run_local_model import HOST as MODEL_HOST
from project import bind
from project.quickstart.errors import CannotStart
from project.quickstart.processes import Child, check_port_is_free
from project.quickstart.terminal import Terminal, shown

MODEL_READY_WITHIN_S = 90.0
GATEWAY_READY_WITHIN_S = 60.0
MODEL_STOPS_WITHIN_S = 5.0
STOP_MARGIN_S = 5.0  # gunicorn kills its workers before this
WATCH_S = 0.2
EVERY_ADDRESS = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}


class Serving:
    """The processes of one run. The context manager stops them at its end, the gateway first."""

    def __init__(self, terminal: Terminal, *, port: int | None, with_model: bool) -> None:
        self._terminal = terminal
        self._with_model = with_model
        self._model: Child | None = None
        self._gateway: Child | None = None
        try:
            self._host, configured = bind.split(settings.BIND)
        except ValueError as error:
            raise CannotStart("BIND is not a host and a port, such as 127.0.0.1:8000.") from error
        self._port = configured if port is None else port

    @property
    def url(self) -> str:
        """The base URL of the gateway for a client on this machine."""
        return "http://" + bind.join(EVERY_ADDRESS.get(self._host, self._host), self._port)

    @property
    def logs(self) -> list[Path]:
        return [child.log for child in (self._gateway, self._model) if child is not None]

    def check_ports(self) -> None:
        """Raise CannotStart if a port is in use. Called before the slow steps."""
        another = bind.join(self._host, self._port + 1)
        check_port_is_free(self._host, self._port, advice=f"Choose another: BIND={another} make run")
        if self._with_model:
            port = settings.LOCAL_MODEL_PORT
            check_port_is_free(MODEL_HOST, port, advice=f"Choose another: LOCAL_MODEL_PORT={port + 1} make run")

    def start(self) -> None:
        """Start the processes and wait until they respond. Raise CannotStart if one does not."""
        begun = time.monotonic()
        if self._with_model:
            self._model = self._run("The embedded model", ["manage.py", "run_local_model"], log="model.log")
        gunicorn = ["-m", "gunicorn", "-c", "project/server/gunicorn.py", "--bind", bind.join(self._host, self._port)]
        self._gateway = self._run("The gateway", gunicorn, log="gateway.log")

        if self._model is not None:
            self._terminal.begin("Model", "loading SmolLM2-135M, a small model with poor responses")
            self._model.wait_until_ready(
                f"http://{MODEL_HOST}:{settings.LOCAL_MODEL_PORT}/health", within_s=MODEL_READY_WITHIN_S
            )
            self._terminal.say(f"ready after {time.monotonic() - begun:.1f} s")
        self._terminal.begin("Gateway", "starting")
        self._gateway.wait_until_ready(f"{self.url}/readyz", within_s=GATEWAY_READY_WITHIN_S)
        self._terminal.say(f"ready: {self.url}")

    def watch(self, *, parent: int | None) -> None:
        """Return when `parent` is no longer the parent process. Raise CannotStart when a started process exits."""
        while parent is None or os.getppid() == parent:
            for child in (self._gateway, self._model):
                if child is not None and child.has_ended():
                    raise CannotStart(
                        f"{child.name} exited unexpectedly: {child.last_output()}. Log: {shown(child.log)}"
                    )
            time.sleep(WATCH_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # The gateway first: its in-flight requests need the model.
        if self._gateway is not None:
            self._gateway.stop(within_s=settings.GRACEFUL_TIMEOUT_S + STOP_MARGIN_S)
        if self._model is not None:
            self._model.stop(within_s=MODEL_STOPS_WITHIN_S)

    def _run(self, name: str, arguments: list[str], *, log: str) -> Child:
        command = [sys.executable, *arguments]
        return Child(name, command, folder=settings.BASE_DIR, log=settings.STATE_DIR / "log" / log)
