"""Frames relayed in a real loop: all paths, TLS, a full client socket, pause, a cut, and the usage record."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User

from tests.messages_api.gateway.test_stream_relay import ALL_PATHS
from tests.support import ROOT
from tests.support.gateway import Gateway, GatewayServer, read_until
from tests.upstream import Chunk, Close, Head, Pause, Reply, ScriptedUpstream, frames_of, streamed

PATHS = {"envelope": "/api/v1/messages", "anthropic": "/api/anthropic/v1/messages"}
STREAMED = {"model": "m", "max_tokens": 64, "stream": True, "messages": [{"role": "user", "content": "Hi"}]}
SSE = {"content-type": "text/event-stream"}
WORDS = [f"word {number} é🙂 " for number in range(60)]
MANY = [f"{number} {'x' * 500} " for number in range(400)]
CHUNK = re.compile(rb"(?s)([0-9A-Fa-f]+)\r\n")

paths = pytest.mark.parametrize(("dialect", "api"), ALL_PATHS)
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


# ---- a whole gateway


@pytest.fixture(scope="module")
def server(django_db_setup: None, static_files: None) -> Iterator[GatewayServer]:
    with GatewayServer(HEARTBEAT_S="0.4", GRACEFUL_TIMEOUT_S="7") as started:
        yield started


@pytest.fixture
def relaying(transactional_db: None, server: GatewayServer, upstream: ScriptedUpstream, owner: User) -> Gateway:
    return Gateway(server, upstream, owner)


@paths
def test_the_usage_record_counts_what_was_relayed_before_a_cut(relaying: Gateway, dialect: str, api: str) -> None:
    """The same text in one read, which is not relayed, has the same estimate."""
    relaying.configure_upstream(dialect)
    for every_s in (0.01, 0.0):
        relaying.upstream.queue(
            lambda request, every_s=every_s: [
                Head(headers=SSE),
                *(step for piece in _pieces(request, joined=not every_s) for step in (Chunk(piece), Pause(every_s))),
                Close(),
            ]
        )

    bodies = [relaying.post(PATHS[api], STREAMED).body.decode() for _ in range(2)]

    assert [text_of(body) for body in bodies] == ["".join(WORDS[:28])] * 2
    paced, joined = relaying.settled(2)
    for column in (
        "status",
        "error_type",
        "error_reason",
        "usage_source",
        "input_tokens",
        "output_tokens",
        "http_status",
    ):
        assert getattr(paced, column) == getattr(joined, column)
    assert paced.output_tokens and paced.ttft_ms is not None


def _pieces(request: Any, *, joined: bool) -> list[bytes]:
    frames = frames_of(request, Reply(WORDS))
    start = 2 if request.dialect == "anthropic" else 1  # frames before the first text
    begun, rest = frames[: start + 1], frames[start + 1 : start + 28]
    return [*begun, b"".join(rest)] if joined else [*begun, *rest]


def test_a_drain_ends_a_relayed_stream_with_an_error(
    transactional_db: None, static_files: None, upstream: ScriptedUpstream, owner: User
) -> None:
    with GatewayServer(GRACEFUL_TIMEOUT_S="7") as started:
        gateway = Gateway(started, upstream, owner)
        gateway.configure_upstream("anthropic")
        upstream.queue(lambda request: streamed(frames_of(request, Reply(["l "] * 1000)), every_s=0.05))
        connection = gateway.open(PATHS["anthropic"], STREAMED)
        received = read_until(connection, b"l ")

        assert started.stop() == 0

        received += read_until(connection, b"\r\n0\r\n\r\n")
        connection.close()
    body = body_of(received)
    assert "overloaded_error" in body and "message_stop" not in body
    assert len(text_of(body)) > 4
    assert gateway.record().status == "failed"
