"""The command `fake_upstream`, which runs the scripted upstream for operators."""

import argparse
import json
import os
import re
import signal
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.upstream import HELLO, SCENARIOS, command, openai_response
from tests.upstream.scenario import without_parameters

Start = Callable[..., tuple["subprocess.Popen[str]", list[str]]]
STARTED = re.compile(r"https?://127\.0\.0\.1:\d+")


@pytest.fixture
def start() -> Iterator[Start]:
    """Start the command on a free port. Return its process and the URLs that it prints."""
    started: list[subprocess.Popen[str]] = []

    def command(*options: str, url_count: int = 1) -> tuple["subprocess.Popen[str]", list[str]]:
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "manage.py", "fake_upstream", "--port", "0", *options],
            cwd=ROOT,
            env={**os.environ, "SECRET_KEY": "", "API_KEY_PEPPERS": ""},  # it requires no installation
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(url_count)]
        return process, [match[0] for line in lines if (match := STARTED.search(line))]

    yield command
    for process in started:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def ask(url: str, model: str, context: ssl.SSLContext | None = None) -> bytes:
    body = json.dumps({"model": model}).encode()
    with urllib.request.urlopen(f"{url}/v1/chat/completions", body, timeout=10, context=context) as response:
        return bytes(response.read())


def output_until(process: "subprocess.Popen[str]", mark: str) -> str:
    """Return the output up to the line with the mark, or all of it."""
    assert process.stdout is not None
    output = ""
    while mark not in output and (line := process.stdout.readline()):
        output += line
    return output


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_it_responds_until_it_is_stopped(start: Start, ending: signal.Signals) -> None:
    process, (url,) = start()

    response = json.loads(ask(url, "some-model"))
    with pytest.raises(urllib.error.HTTPError) as caught:
        ask(url, "scripted-status-529")
    caught.value.close()
    output = output_until(process, "#2")  # the response arrives shortly before the program logs the request
    process.send_signal(ending)

    assert response == openai_response(HELLO, model="some-model")
    assert caught.value.code == 529
    assert process.wait(10) == 0
    assert re.findall(r"#\d+ .*? -> \w+", output) == [
        "#1 POST /v1/chat/completions some-model -> played",
        "#2 POST /v1/chat/completions scripted-status-529 -> played",
    ]


def test_the_fault_proxy_acts_in_both_directions(start: Start) -> None:
    _, (url, back) = start("--proxy-port", "0", "--reset-after-bytes", "20", url_count=2)
    _, (_, onward) = start("--proxy-port", "0", "--upstream-reset-after-bytes", "20", url_count=2)

    assert json.loads(ask(url, "m"))["object"] == "chat.completion"
    for spoiled in (back, onward):
        with pytest.raises(OSError):
            ask(spoiled, "m")


def test_it_uses_tls_and_writes_the_authority(start: Start, tmp_path: Path) -> None:
    authority = tmp_path / "authority.pem"
    _, (url,) = start("--tls", "good", "--ca-file", str(authority))

    response = json.loads(ask(url, "m", ssl.create_default_context(cafile=authority)))

    assert url.startswith("https://")
    assert response["object"] == "chat.completion"


def test_the_list_has_every_scenario() -> None:
    command = [sys.executable, "-W", "error", "manage.py", "fake_upstream", "--list"]

    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout

    assert re.findall(r"^scripted-(\S+)", listed, flags=re.M) == list(SCENARIOS)


def test_the_scenarios_and_options_in_the_guide_exist() -> None:
    guide = (ROOT / "docs" / "faults.md").read_text()
    rows = re.findall(r"^\| (`[a-z].*?`) \|", guide, flags=re.M)
    named = {name for row in rows for name in re.findall(r"`([^`]+)`", row)}
    named |= set(re.findall(r"\bask ([a-z0-9-]+)", guide))
    parser = argparse.ArgumentParser()
    command.add_options(parser)

    assert {without_parameters(name) for name in named} <= set(SCENARIOS)
    assert len(named) > 15
    options = set(re.findall(r"--[a-z][a-z-]*", guide))
    assert options <= {option for action in parser._actions for option in action.option_strings}
