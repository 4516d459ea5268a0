"""Clients in processes of their own: the official SDK's own tests, LangChain's, pydantic-ai, LiteLLM and the AI SDK.

The packages of the Python clients would add plugins to pytest and change the versions of others, so they are in
`.venv/clients` (requirements/clients.txt).
"""

import json
import os
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tests import clients
from tests.support import ROOT
from tests.support.gateway import Gateway
from tests.support.missing import missing
from tests.upstream import RecordedRequest, Reply, Step, ToolCall, body_response, replied

both_dialects = pytest.mark.parametrize("dialect", ["openai", "anthropic"])
PYTHON = ROOT / ".venv" / "clients" / "bin" / "python"
FOLDER = clients.FOLDER / "separate"
SDK = ROOT / ".venv" / "clients" / "sdk"
"""The source distribution of the official SDK, whose version is that of the installed package."""
MODEL_TESTS = ["tests/api_resources/test_models.py", "tests/api_resources/beta/test_models.py"]
MESSAGE_TESTS = ["tests/api_resources/test_messages.py", "tests/api_resources/beta/test_messages.py"]
INVENTED_IDS = "test_method_list_with_all_params"
"""Pages from an `after_id` and a `before_id` that no list has."""
ANTHROPIC_ONLY = "create_with_all_params"
"""Requests a container, which only Anthropic has."""
WITHIN_S = 300
EXAMPLES = {"integer": 3, "number": 3.5, "boolean": True, "array": [], "object": {}}


def respond(request: RecordedRequest) -> Iterable[Step]:
    if request.path.partition("?")[0].endswith("/count_tokens"):
        return body_response({"input_tokens": 9})
    return replied(reply_of(request))(request)


def reply_of(request: RecordedRequest) -> Reply:
    """Reply as a model would: with JSON for a schema, a tool call where tools are offered, else with text."""
    body = request.body
    if schema := _output_schema(body):
        return Reply((json.dumps(_example(schema, body), ensure_ascii=False),))
    tools = dict(map(_tool, body.get("tools", [])))
    if not tools or _has_tool_result(body["messages"]):
        return Reply()
    choice = body.get("tool_choice")
    forced = choice.get("name") or choice.get("function", {}).get("name") if isinstance(choice, dict) else None
    name = forced or next(iter(tools))
    arguments = json.dumps(_example(tools[name], body), ensure_ascii=False)
    return Reply((), tool_calls=[ToolCall(name=name, arguments=arguments)], stop="tools")


def _output_schema(body: dict[str, Any]) -> dict[str, Any] | None:
    of_anthropic = body.get("output_config", {}).get("format") or body.get("output_format") or {}
    of_openai = body.get("response_format", {}).get("json_schema", {})
    return of_anthropic.get("schema") or of_openai.get("schema")


def _tool(tool: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    if "function" in tool:
        return tool["function"]["name"], tool["function"]["parameters"]
    return tool["name"], tool["input_schema"]


def _has_tool_result(messages: list[dict[str, Any]]) -> bool:
    last = messages[-1]
    is_block = isinstance(last["content"], list) and any(each.get("type") == "tool_result" for each in last["content"])
    return last["role"] == "tool" or is_block


def _example(schema: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
    """Return an object of a schema. Its texts are what the request quotes, else a city."""
    quoted = re.search(r"'([^']+)'", json.dumps(body["messages"][-1], ensure_ascii=False))
    text = quoted[1] if quoted else "Paris"
    return {name: EXAMPLES.get(part.get("type"), text) for name, part in schema.get("properties", {}).items()}


@pytest.fixture
def environment(gateway: Gateway, tmp_path: Path, proxy: str) -> dict[str, str]:
    gateway.upstream.queue(respond, times=None)
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "GATEWAY_URL": f"{gateway.url}/api/anthropic",
        "GATEWAY_KEY": gateway.raw_key,
        "LANGSMITH_TRACING": "false",
        "LITELLM_LOCAL_MODEL_COST_MAP": "true",
        **clients.offline(proxy),
    }


@pytest.fixture
def python() -> str:
    """The interpreter with the packages of the Python clients."""
    if not PYTHON.exists():
        missing("the packages of requirements/clients.txt are not installed")
    return str(PYTHON)


def run(command: list[str], environment: dict[str, str], *, folder: Path = FOLDER) -> str:
    """Run a client. Return what it prints. Fail if its status is not 0."""
    ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=WITHIN_S)
    assert ran.returncode == 0, f"{ran.stdout[-6000:]}{ran.stderr[-2000:]}"
    return ran.stdout


@pytest.mark.parametrize(
    ("dialect", "files", "left_out", "result"),
    [
        pytest.param(
            "anthropic", MODEL_TESTS + MESSAGE_TESTS, INVENTED_IDS, "205 passed, 10 deselected", id="anthropic"
        ),
        pytest.param("openai", MESSAGE_TESTS, ANTHROPIC_ONLY, "105 passed, 20 deselected", id="openai"),
    ],
)
@pytest.mark.timeout(WITHIN_S + 30)
def test_the_own_tests_of_the_official_sdk_pass(
    gateway: Gateway,
    environment: dict[str, str],
    python: str,
    dialect: str,
    files: list[str],
    left_out: str,
    result: str,
) -> None:
    if not SDK.is_dir():
        missing("the source distribution of the official SDK is not installed")
    gateway.configure_upstream(dialect)

    options = ["-c", str(FOLDER / "pytest.ini"), "--noconftest", "-p", "sdk_fixtures", "-k", f"not {left_out}"]
    with_sources = environment | {"PYTHONPATH": f"{SDK}:{FOLDER}"}
    output = run([python, "-m", "pytest", *options, *files], with_sources, folder=SDK)

    assert output.splitlines()[-1].startswith(f"{result} in ")


@both_dialects
@pytest.mark.timeout(WITHIN_S + 30)
def test_the_standard_tests_of_langchain_pass(
    gateway: Gateway, environment: dict[str, str], python: str, dialect: str
) -> None:
    gateway.configure_upstream(dialect, profile_overrides={"files": True})

    output = run([python, "-m", "pytest", "-c", "pytest.ini", "langchain_standard.py"], environment)

    assert output.splitlines()[-1].startswith("47 passed, 3 skipped in ")  # JSON mode, audio and recorded requests


def check_turns(gateway: Gateway, output: str) -> None:
    """Check a turn with a tool call and a stream."""
    assert json.loads(output.splitlines()[-1]) == {
        "cities": ["Paris"],
        "tool": "Hello, world!",
        "stream": "Hello, world!",
    }
    assert {record.status for record in gateway.settled(3)} == {"completed"}


@both_dialects
@pytest.mark.parametrize("name", ["pydantic-ai", "litellm"])
def test_a_python_client_calls_a_tool_and_streams(
    gateway: Gateway, environment: dict[str, str], python: str, dialect: str, name: str
) -> None:
    gateway.configure_upstream(dialect)

    check_turns(gateway, run([python, "other_clients.py", name], environment))


@both_dialects
def test_the_ai_sdk_calls_a_tool_and_streams(
    npm_packages: None, gateway: Gateway, environment: dict[str, str], dialect: str
) -> None:
    gateway.configure_upstream(dialect)

    check_turns(gateway, run(["node", "ai_sdk.mjs"], environment, folder=clients.FOLDER))
