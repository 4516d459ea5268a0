"""Frames relayed in a real loop: all paths, TLS, a full client socket, a pause and a cut."""

import json
import re
import subprocess
import sys
from typing import Any

import pytest

from tests.messages_api.gateway.test_stream_relay import ALL_PATHS
from tests.support import ROOT

WORDS = [f"word {number} é🙂 " for number in range(60)]
MANY = [f"{number} {'x' * 500} " for number in range(400)]
CHUNK = re.compile(rb"(?s)([0-9A-Fa-f]+)\r\n")

pytestmark = pytest.mark.timeout(300)  # forty streams in one process

all_paths = pytest.mark.parametrize("case", [f"{dialect} {api}" for dialect, api in ALL_PATHS])
tls_or_not = pytest.mark.parametrize("tls", ["", " tls"])


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The results of the program, by path, scenario and `tls`."""
    ca_file = tmp_path_factory.mktemp("relay") / "authority.pem"
    command = [sys.executable, "-m", "tests.messages_api.gateway.relaying_program", str(ca_file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    return {
        name: result | {"body": body_of(result["received"].encode())}
        for name, result in json.loads(done.stdout).items()
    }


def body_of(received: bytes) -> str:
    rest, body = received.partition(b"\r\n\r\n")[2], b""
    while match := CHUNK.match(rest):
        end = match.end() + int(match[1], 16)
        body, rest = body + rest[match.end() : end], rest[end + 2 :]
    assert not rest
    return body.decode()


def text_of(body: str) -> str:
    """Return the text of a stream of either API."""
    text = ""
    for line in body.split("\n"):
        if line.startswith("data: {"):
            event = json.loads(line.removeprefix("data: "))
            if event.get("type") == "content_block_delta":
                text += event["delta"]["text"]
            elif event.get("choices"):
                text += event["choices"][0]["delta"].get("content", "")
    return text


@all_paths
@tls_or_not
@pytest.mark.parametrize(("scenario", "texts"), [("paced", WORDS), ("odd", WORDS), ("pause", WORDS), ("full", MANY)])
def test_nothing_is_lost_or_swapped_and_all_is_counted(
    results: dict[str, Any], case: str, tls: str, scenario: str, texts: list[str]
) -> None:
    result = results[f"{case} {scenario}{tls}"]

    assert text_of(result["body"]) == "".join(texts)
    assert result["characters"] == len("".join(texts))
    assert result["is_complete"]
    assert result["relayed"] > 0 or scenario == "odd"


@all_paths
@tls_or_not
def test_a_pause_after_relayed_text_gets_pings(results: dict[str, Any], case: str, tls: str) -> None:
    body = results[f"{case} pause{tls}"]["body"]

    pause = body[body.index("word 20 ") : body.index("word 40 ")]
    assert pause.count("event: ping" if " anthropic" in case else ": ping") >= 2


@all_paths
@tls_or_not
def test_a_cut_within_a_plain_frame_is_an_error_after_the_text(results: dict[str, Any], case: str, tls: str) -> None:
    result = results[f"{case} cut{tls}"]

    text = text_of(result["body"])
    assert text and "".join(WORDS).startswith(text)
    assert result["characters"] == len(text)
    assert not result["is_complete"]
    assert '"error"' in result["body"].rstrip("\n").rpartition("\n")[2]
    assert result["relayed"] > 0
