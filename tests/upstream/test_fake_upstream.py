"""`manage.py fake_upstream`: the scripted upstream for operators, started as they start it."""

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
from tests.upstream.scenario import without_knobs

Start = Callable[..., tuple["subprocess.Popen[str]", list[str]]]
STARTED = re.compile(r"https?://127\.0\.0\.1:\d+")


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts the command on a free port and returns its process and the addresses that it prints."""
    started: list[subprocess.Popen[str]] = []

    def command(*options: str, addresses: int = 1) -> tuple["subprocess.Popen[str]", list[str]]:
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "manage.py", "fake_upstream", "--port", "0", *options],
            cwd=ROOT,
            env={**os.environ, "SECRET_KEY": "", "API_KEY_PEPPERS": ""},  # it needs no installation
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(addresses)]
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
    """What it says, to the line with the mark, or to its end."""
    assert process.stdout is not None
    said = ""
    while mark not in said and (line := process.stdout.readline()):
        said += line
    return said


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_it_answers_and_misbehaves_until_it_is_told_to_end(start: Start, ending: signal.Signals) -> None:
    process, (url,) = start()

    response = json.loads(ask(url, "some-model"))
    with pytest.raises(urllib.error.HTTPError) as caught:
        ask(url, "scripted-status-529")
    caught.value.close()
    output = output_until(process, "#2")  # who asked has its answer a moment before the program notes it
    process.send_signal(ending)

    assert response == openai_response(HELLO, model="some-model")
    assert caught.value.code == 529
    assert process.wait(10) == 0
    assert re.findall(r"#\d+ .*? -> \w+", output) == [
        "#1 POST /v1/chat/completions some-model -> played",
        "#2 POST /v1/chat/completions scripted-status-529 -> played",
    ]


def test_the_fault_proxy_acts_in_both_directions(start: Start) -> None:
    _, (url, back) = start("--proxy-port", "0", "--reset-after-bytes", "20", addresses=2)
    _, (_, onward) = start("--proxy-port", "0", "--upstream-reset-after-bytes", "20", addresses=2)

    assert json.loads(ask(url, "m"))["object"] == "chat.completion"
    for spoiled in (back, onward):
        with pytest.raises(OSError):
            ask(spoiled, "m")


def test_it_speaks_tls_and_says_whom_to_trust(start: Start, tmp_path: Path) -> None:
    authority = tmp_path / "authority.pem"
    _, (url,) = start("--tls", "good", "--ca-file", str(authority))

    response = json.loads(ask(url, "m", ssl.create_default_context(cafile=authority)))

    assert url.startswith("https://")
    assert response["object"] == "chat.completion"


def test_the_list_names_every_scenario() -> None:
    command = [sys.executable, "-W", "error", "manage.py", "fake_upstream", "--list"]

    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout

    assert re.findall(r"^scripted-(\S+)", listed, flags=re.M) == list(SCENARIOS)


def test_the_guide_names_scenarios_and_options_that_there_are() -> None:
    guide = (ROOT / "docs" / "faults.md").read_text()
    rows = re.findall(r"^\| (`[a-z].*?`) \|", guide, flags=re.M)
    named = {name for row in rows for name in re.findall(r"`([^`]+)`", row)}
    named |= set(re.findall(r"\bask ([a-z0-9-]+)", guide))
    parser = argparse.ArgumentParser()
    command.add_options(parser)

    assert {without_knobs(name) for name in named} <= set(SCENARIOS)
    assert len(named) > 15
    options = set(re.findall(r"--[a-z][a-z-]*", guide))
    assert options <= {option for action in parser._actions for option in action.option_strings}
