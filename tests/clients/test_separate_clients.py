"""Clients in processes of their own: LangChain's standard tests, pydantic-ai, LiteLLM and the AI SDK.

The packages of the Python clients would add plugins to pytest and change the versions of others, so they are in
`.venv/clients` (requirements/clients.txt).
"""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests import clients
from tests.support import ROOT
from tests.support.gateway import Gateway
from tests.support.missing import missing
from tests.upstream import RecordedRequest, Reply, ToolCall, replied

both_dialects = pytest.mark.parametrize("dialect", ["openai", "anthropic"])
PYTHON = ROOT / ".venv" / "clients" / "bin" / "python"
FOLDER = clients.FOLDER / "separate"
WITHIN_S = 300
EXAMPLES = {"integer": 3, "number": 3.5, "boolean": True, "array": [], "object": {}}


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
    gateway.upstream.queue(lambda request: replied(reply_of(request))(request), times=None)
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
