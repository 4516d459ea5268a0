"""Command: the steps of `make run` after the installation of packages."""

import json
import logging
import os
import shlex
import signal
import sys
from types import FrameType
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandParser

from lib.arguments import port
from project.quickstart import first_requests, installation, rows
from project.quickstart.errors import CannotStart
from project.quickstart.first_requests import PLAIN_QUESTION, STREAMED_QUESTION
from project.quickstart.serving import Serving
from project.quickstart.terminal import Terminal, shown
from project.settings import env


class Command(BaseCommand):
    help = (
        "Prepare an installation, start the gateway (with the embedded model unless UPSTREAM_URL is set), send two "
        "requests and serve until Ctrl-C. Can be repeated. Example: manage.py quickstart --port 8001"
    )
    requires_system_checks = []  # its first step writes the secrets that the checks require

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--port", type=port, help="instead of the port in BIND")
        parser.add_argument("--with-parent", action="store_true", help="stop when the parent process exits")
        parser.add_argument("--prepare-only", action="store_true", help="prepare the installation without starting it")

    def handle(self, *, port: int | None, with_parent: bool, prepare_only: bool, **options: Any) -> None:
        parent = os.getppid() if with_parent else None
        self.terminal = Terminal(self.stdout)
        logging.disable(logging.WARNING)  # each failure is one line of output
        _stop_on_signals()
        try:
            if prepare_only:
                installation.prepare(self.terminal)
                self._ensure_admin_and_key()
            else:
                self._serve(port, parent)
        except CannotStart as error:
            self.terminal.end_line()
            self.stderr.write(str(error))
            sys.exit(1)
        except KeyboardInterrupt:
            self.terminal.plain("\nStopped.")

    def _serve(self, port: int | None, parent: int | None) -> None:
        with Serving(self.terminal, port=port, with_model=installation.uses_local_model()) as serving:
            serving.check_ports()
            installation.prepare(self.terminal)
            try:
                serving.start()
                admin, raw_key = self._ensure_admin_and_key(url=serving.url)
                self._try(serving.url, raw_key or rows.issue_check_key(admin))
                self._show_examples(serving, is_key_shown=raw_key is not None)
                serving.watch(parent=parent)
            except KeyboardInterrupt:
                self.terminal.plain("\nStopping after in-flight requests. Press Ctrl-C again to stop immediately.")
                raise

    def _ensure_admin_and_key(self, url: str = "") -> tuple[User, str | None]:
        """Show a new password and a new raw key before the later steps, which may fail."""
        admin, password = rows.ensure_admin()
        secret = f", password {password} (shown only once)" if password else ""
        self.terminal.say(f"{url}/admin/ as {admin.get_username()}{secret}", label="Admin")
        raw_key = rows.ensure_first_key(admin)
        if raw_key:
            self.terminal.say(f"KEY={raw_key}  # shown only once", label="API key")
        return admin, raw_key

    def _try(self, url: str, raw_key: str) -> None:
        client = first_requests.Client(url=url, raw_key=raw_key, model=installation.model_to_use())
        self.terminal.plain("")
        try:
            self.terminal.say(PLAIN_QUESTION, label="Plain")
            self.terminal.say(client.send(PLAIN_QUESTION))
            self.terminal.say(STREAMED_QUESTION, label="Streamed")
            self.terminal.say_in_pieces(client.stream(STREAMED_QUESTION))
        except CannotStart as error:
            raise CannotStart(f"{error} {installation.advice_after_failure()}") from error

    def _show_examples(self, serving: Serving, *, is_key_shown: bool) -> None:
        self.terminal.plain("\nThe same requests with curl:\n")
        if not is_key_shown:
            command = f"{_environment()}.venv/bin/python manage.py issue_key --name mine"
            self.terminal.plain(f"KEY=$({command})  # or your own key")
        self.terminal.plain(_curl(serving.url, PLAIN_QUESTION, stream=False))
        self.terminal.plain(_curl(serving.url, STREAMED_QUESTION, stream=True))
        logs = ", ".join(shown(log) for log in serving.logs)
        self.terminal.plain(f"\nServing {serving.url} until Ctrl-C. Logs: {logs}")


def _environment() -> str:
    """Return the variables that a command in another shell needs to use this installation."""
    given = {name: env.ENVIRON.get(name) for name in ("ENV_FILE", "STATE_DIR")}
    return "".join(f"{name}={shlex.quote(value)} " for name, value in given.items() if value)


def _curl(url: str, question: str, *, stream: bool) -> str:
    """Return a curl command that sends the question with the key in $KEY."""
    request = first_requests.request_body(question, model=installation.model_to_use(), stream=stream)
    head = f'curl {"-N " if stream else ""}{url}{first_requests.PATH} -H "Authorization: Bearer $KEY"'
    return f"{head} \\\n  -d '{json.dumps(request)}'"


def _stop_on_signals() -> None:
    """Raise KeyboardInterrupt for SIGINT, SIGTERM and SIGHUP, also where the shell ignores Ctrl-C (`&`)."""

    def stop(number: int, frame: FrameType | None) -> None:
        # make forwards SIGTERM to a process that already has it. The second one must not interrupt the stop.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup
        signal.signal(signal.SIGHUP, stop)
