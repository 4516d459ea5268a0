"""Every generated stream is read by the official SDKs as its generator meant it."""

import logging
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import pytest

from tests.differential.anthropic_streams import anthropic_stream
from tests.differential.core import through_core
from tests.differential.intended import GeneratedStream, differences
from tests.differential.openai_streams import openai_stream
from tests.differential.python_sdks import PythonSDKs
from tests.differential.typescript_sdks import TypeScriptSDKs

GENERATORS = {"openai": openai_stream, "anthropic": anthropic_stream}
SHORT_PYTHON, SHORT_TYPESCRIPT, LONG = 500, 150, 100_000
PART = 10_000
"""Streams of one test in the long form. `-k "typescript and 3-openai"` runs one part."""
REPORTED = 5


class SDKs(Protocol):
    def read(self, api: str, writes: list[bytes], *, beta: bool, helper: bool) -> dict[str, Any]: ...


@pytest.fixture(scope="module")
def python_sdks() -> Iterator[PythonSDKs]:
    logger = logging.getLogger("httpx2")
    level = logger.level
    logger.setLevel(logging.WARNING)  # a line per stream
    sdks = PythonSDKs()
    yield sdks
    sdks.close()
    logger.setLevel(level)


@pytest.fixture(scope="module")
def typescript_sdks(npm_packages: None) -> Iterator[TypeScriptSDKs]:
    sdks = TypeScriptSDKs()
    yield sdks
    sdks.close()


both_dialects = pytest.mark.parametrize("dialect", list(GENERATORS))
parts = pytest.mark.parametrize("part", range(LONG // PART))


@both_dialects
@parts
@pytest.mark.timeout(3600)
def test_python_sdks_read_what_was_meant(python_sdks: PythonSDKs, at_length: bool, dialect: str, part: int) -> None:
    _check(python_sdks, dialect, _seeds(part, at_length=at_length, short=SHORT_PYTHON))


@both_dialects
@parts
@pytest.mark.timeout(3600)
def test_typescript_sdks_read_what_was_meant(
    typescript_sdks: TypeScriptSDKs, at_length: bool, dialect: str, part: int
) -> None:
    _check(typescript_sdks, dialect, _seeds(part, at_length=at_length, short=SHORT_TYPESCRIPT))


def _seeds(part: int, *, at_length: bool, short: int) -> range:
    """Return the seeds of a part. The short form has the first ones of all of them."""
    size = PART if at_length else short * PART // LONG
    return range(part * PART, part * PART + size)


def _check(sdks: SDKs, dialect: str, seeds: range) -> None:
    generate: Callable[[int], GeneratedStream] = GENERATORS[dialect]
    failed: list[int] = []
    reports: list[str] = []
    for seed in seeds:
        stream = generate(seed)
        for api in ("anthropic", "envelope"):
            if found := _differences(sdks, stream, api):
                failed.append(seed)
                reports += [_report(stream, api, found)] if len(failed) <= REPORTED else []
    assert not failed, "\n\n".join([f"{dialect} streams that differ: {failed}", *reports])


def _differences(sdks: SDKs, stream: GeneratedStream, api: str) -> list[str]:
    writes = through_core(stream, api)
    # The helper of the Python SDK raises for responses that a limit or a filter ended.
    may_help = stream.intended.completion()["finish_reason"] in ("stop", "tool_calls")
    reading = sdks.read(api, writes, beta=stream.needs_beta, helper=may_help and stream.seed % 2 == 1)
    return differences(stream, api, reading)


def _report(stream: GeneratedStream, api: str, found: list[str]) -> str:
    received = b"".join(stream.pieces).decode("utf-8", "replace")
    return "\n".join([f"{stream.dialect} stream {stream.seed}, {api} API", *found, "the upstream sent:", received])
