"""The clients of the load: they notice every fault of a stream, and a rejected request is none of their requests."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.load.bodies import FORMATS, request_body
from bench.load.checks import problems_of_response
from bench.measure.options import Options
from bench.measure.upstream import MockUpstream
from tests.support import ROOT

PATHS = {"anthropic": "/v1/messages", "openai": "/v1/chat/completions"}


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MockUpstream]:
    log = tmp_path_factory.mktemp("upstream") / "log"
    running = MockUpstream(Options(load_core=0, limit_s=60, chunks=40), log)
    yield running
    running.stop()


def run(module: str, *arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.stdout, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def streamed(upstream: MockUpstream, api_format: str, model: str) -> dict[str, Any]:
    url = f"http://127.0.0.1:{upstream.port}{PATHS[api_format]}"
    options = ["--chunks", "40", "--ramp", "0.2", "--streams", "4"]
    return run("bench.load.streams", "--url", url, "--format", api_format, "--model", model, *options)


@pytest.mark.parametrize("api_format", PATHS)
def test_whole_streams_are_right_in_every_respect(upstream: MockUpstream, api_format: str) -> None:
    found = streamed(upstream, api_format, "mock")

    assert (found["ok"], found["bad"], found["problems"], found["shape"], found["chunks"]) == (4, 0, [], [], 160)
    assert 0.8 < found["of_rate"] < 1.2
    assert upstream.counters()["open"] == 0


@pytest.mark.parametrize(
    ("model", "problem"),
    [
        ("mock-l3", "chunk 4 instead of 3"),
        ("mock-c7", "ended after 7 chunks without the end mark"),
        ("mock-e529", "status 529"),
        ("mock-n39", "end mark after 39 chunks"),
    ],
)
@pytest.mark.parametrize("api_format", PATHS)
def test_a_fault_of_a_stream_is_found(upstream: MockUpstream, api_format: str, model: str, problem: str) -> None:
    found = streamed(upstream, api_format, model)

    assert (found["ok"], found["bad"]) == (0, 4)
    assert [text for text in found["problems"] if text.startswith(problem)], found["problems"]


def plain(upstream: MockUpstream, folder: Path, model: str, *arguments: str) -> dict[str, Any]:
    body = folder / "body.json"
    body.write_bytes(request_body("anthropic", model))
    url = f"http://127.0.0.1:{upstream.port}/v1/messages"
    return run("bench.load.plain", "--url", url, "--body", str(body), "--seconds", "0.3", *arguments)


def test_plain_requests_are_counted_once(upstream: MockUpstream, tmp_path: Path) -> None:
    before = upstream.counters()["requests"]

    found = plain(upstream, tmp_path, "mock", "--connections", "8")

    assert found["errors"] == 0
    assert found["requests"] == upstream.counters()["requests"] - before > 0


def test_a_rejected_request_is_an_error_and_not_a_request(upstream: MockUpstream, tmp_path: Path) -> None:
    found = plain(upstream, tmp_path, "mock-e503", "--connections", "2")

    assert found["requests"] == 0
    assert found["errors"] > 0
    assert found["problems"] == [f"{found['errors']} x status 503"]


def test_the_latency_is_that_of_the_upstream(upstream: MockUpstream, tmp_path: Path) -> None:
    found = plain(upstream, tmp_path, "mock-d50", "--connections", "2")

    assert 50 <= found["p50"] < 150


@pytest.mark.parametrize("api_format", FORMATS)
def test_a_wrong_response_has_problems(api_format: str) -> None:
    assert problems_of_response(api_format, b"{}")
    assert problems_of_response(api_format, b"no JSON")


def test_a_body_has_about_the_requested_size() -> None:
    assert 900 < len(request_body("envelope", "mock")) < 1_300
    assert 100_000 < len(request_body("openai", "mock", size=100_000)) < 102_000
