"""`make run` for a new user: the real program, the real model, two responses, and no process afterwards."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from tests.support import ROOT
from tests.support.gateway import free_port, wait_until
from tests.support.local_model import is_installed
from tests.support.missing import missing
from tests.upstream import ScriptedUpstream

UP_WITHIN_S = 90.0
GONE_WITHIN_S = 10.0

pytestmark = pytest.mark.timeout(240)


class Quickstart:
    """A run of quickstart in an installation of its own."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.port = free_port()
        self.model_port = free_port()
        self._output = folder / f"output-{self.port}.txt"
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-W", "error", "manage.py", "quickstart"],
                cwd=ROOT,
                env={
                    "PATH": os.environ["PATH"],
                    "ENV_FILE": str(folder / ".env"),
                    "STATE_DIR": str(folder / "state"),
                    "BIND": f"127.0.0.1:{self.port}",
                    "LOCAL_MODEL_PORT": str(self.model_port),
                    **environment,
                },
                stdout=output,
                stderr=output,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end(with_signal=signal.SIGTERM)

    def end(self, *, with_signal: int) -> int:
        if self._process.poll() is None:
            self._process.send_signal(with_signal)
        return self._process.wait(60)

    @property
    def output(self) -> str:
        return self._output.read_text()

    def wait_until_serving(self) -> str:
        wait_until(lambda: "Serving http" in self.output or self._process.poll() is not None, within_s=UP_WITHIN_S)
        assert self._process.poll() is None, self.output
        return self.output

    def wait(self) -> int:
        return self._process.wait(UP_WITHIN_S)

    def children(self) -> list[int]:
        """Return the processes of the model and of gunicorn, found by their ports and parents."""
        pid = self._process.pid
        direct = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        workers = [Path(f"/proc/{child}/task/{child}/children").read_text().split() for child in direct]
        return direct + [int(worker) for found in workers for worker in found]

    def post(self, raw_key: str, *, model: str) -> tuple[int, Any]:
        request = {"model": model, "max_tokens": 8, "messages": [{"role": "user", "content": "Hello"}]}
        return self._send("POST", "/api/v1/messages", raw_key, json.dumps(request))

    def get(self, raw_key: str, path: str) -> tuple[int, Any]:
        return self._send("GET", path, raw_key)

    def _send(self, method: str, path: str, raw_key: str, body: str | None = None) -> tuple[int, Any]:
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            client.request(method, path, body, {"Authorization": f"Bearer {raw_key}"})
            response = client.getresponse()
            return response.status, json.load(response)
        finally:
            client.close()


def is_alive(pid: int) -> bool:
    try:
        # A zombie, which its parent has not yet waited for, does not run.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def answers(output: str) -> tuple[str, str]:
    """Return the texts below the plain and the streamed question."""
    found = re.search(r"  Plain .*\n((?: {12}.*\n)+)  Streamed .*\n((?: {12}.*\n)+)", output)
    assert found, output
    return found[1].strip(), found[2].strip()


@pytest.fixture
def model() -> None:
    if not is_installed():
        missing("the embedded model is not installed (requirements/local-model.txt)")


@pytest.fixture
def quickstart(tmp_path: Path) -> Iterator[Callable[..., Quickstart]]:
    """Return a function that starts runs in one installation. Running ones are stopped at the end."""
    runs: list[Quickstart] = []

    def start(**environment: str) -> Quickstart:
        runs.append(Quickstart(tmp_path, **environment))
        return runs[-1]

    yield start
    for run in runs:
        run.end(with_signal=signal.SIGTERM)


@pytest.mark.usefixtures("model")
def test_a_new_machine_gets_two_responses_a_key_and_an_admin_and_keeps_them(
    quickstart: Callable[..., Quickstart], tmp_path: Path
) -> None:
    first = quickstart()
    output = first.wait_until_serving()
    children = first.children()

    assert all(answers(output))
    [raw_key] = re.findall(r"mgw_\w+", output)
    assert re.search(r"as admin, password \S{16} ", output)
    assert (tmp_path / ".env").stat().st_mode & 0o777 == 0o600
    for model in ("claude-3-opus-20240229", "smollm2-135m-anthropic"):
        status, envelope = first.post(raw_key, model=model)
        assert (status, envelope["success"], envelope["data"]["model"]) == (200, True, model)
    status, envelope = first.get(raw_key, "/api/v1/key")
    month = envelope["data"]["usage"]["this_month"]
    figures = {name: month[name] for name in ("requests", "cost_usd", "unpriced_requests")}
    assert (status, figures) == (200, {"requests": 4, "cost_usd": "0.000000", "unpriced_requests": 0})

    assert first.end(with_signal=signal.SIGINT) == 0
    assert len(children) == 3
    assert not [pid for pid in children if is_alive(pid)]
    assert "Traceback" not in first.output

    second = quickstart()
    output = second.wait_until_serving()
    assert all(answers(output))
    assert not re.search(r"mgw_|password", output)
    assert second.post(raw_key, model="smollm2-135m")[0] == 200


@pytest.mark.usefixtures("model")
def test_no_process_survives_when_quickstart_is_killed(quickstart: Callable[..., Quickstart]) -> None:
    run = quickstart()
    run.wait_until_serving()
    children = run.children()

    run.end(with_signal=signal.SIGKILL)

    assert len(children) == 3
    wait_until(lambda: not [pid for pid in children if is_alive(pid)], within_s=GONE_WITHIN_S)


@pytest.mark.usefixtures("model")
def test_a_model_that_exits_ends_the_run_with_one_line(quickstart: Callable[..., Quickstart]) -> None:
    run = quickstart()
    run.wait_until_serving()
    children = run.children()

    os.kill(children[0], signal.SIGKILL)

    assert run.wait() == 1
    assert run.output.splitlines()[-1].startswith("The embedded model exited unexpectedly: ")
    assert not [pid for pid in children if is_alive(pid)]


@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
def test_with_an_upstream_no_model_is_started(
    quickstart: Callable[..., Quickstart], upstream: ScriptedUpstream, dialect: str
) -> None:
    run = quickstart(UPSTREAM_URL=upstream.url, UPSTREAM_API_KEY="the-credential", UPSTREAM_DIALECT=dialect)
    output = run.wait_until_serving()

    assert all(answers(output))
    assert len(run.children()) == 2
    assert run.end(with_signal=signal.SIGTERM) == 0


def test_an_unavailable_upstream_is_reported_in_one_line(quickstart: Callable[..., Quickstart]) -> None:
    run = quickstart(UPSTREAM_URL=f"http://127.0.0.1:{free_port()}")

    assert run.wait() == 1
    assert "UPSTREAM_URL" in run.output.splitlines()[-1]
    assert "Traceback" not in run.output


def test_a_used_port_is_reported_in_one_line_before_any_step(
    quickstart: Callable[..., Quickstart], upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    port = upstream.url.rpartition(":")[2].partition("/")[0]

    run = quickstart(BIND=f"127.0.0.1:{port}")

    assert run.wait() == 1
    assert run.output.splitlines() == [
        f"Port {port} is in use. Choose another: BIND=127.0.0.1:{int(port) + 1} make run"
    ]
    assert not (tmp_path / ".env").exists()
