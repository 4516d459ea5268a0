"""Claude Code's own CLI, configured with the variables that its documentation names, and nothing else.

It runs without a terminal and with a home of its own.
"""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from keys.display.snippets import claude_code_settings
from keys.models import APIKey, Budget
from tests import clients
from tests.support.gateway import Gateway
from tests.support.missing import missing
from tests.upstream import Reply, ToolCall, replied

both_dialects = pytest.mark.parametrize("dialect", ["openai", "anthropic"])
CLI = clients.FOLDER / "node_modules" / ".bin" / "claude"
MODEL = "claude-sonnet-4-5"
WITHIN_S = 90


class ClaudeCode:
    """The CLI at a gateway. Each run is a session of one prompt."""

    def __init__(self, gateway: Gateway, folder: Path, *, proxy: str) -> None:
        self.folder = folder / "project"
        self.folder.mkdir()
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "ANTHROPIC_BASE_URL": f"{gateway.url}/api/anthropic",
            "ANTHROPIC_AUTH_TOKEN": gateway.raw_key,
            "CLAUDE_CODE_MAX_RETRIES": "0",
            **clients.offline(proxy),
        }

    def run(self, prompt: str, *options: str, **environment: str) -> dict[str, Any]:
        """Return the result that the CLI prints."""
        ran = subprocess.run(
            [str(CLI), "-p", prompt, "--output-format", "json", "--model", MODEL, *options],
            cwd=self.folder,
            env=self.environment | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=WITHIN_S,
        )
        assert ran.stdout, f"status {ran.returncode}: {ran.stderr[-2000:]}"
        result: dict[str, Any] = json.loads(ran.stdout)
        assert (ran.returncode == 0) is not result["is_error"]
        return result


@pytest.fixture(scope="session")
def installed(npm_packages: None) -> None:
    if not CLI.exists() or subprocess.run([str(CLI), "--version"], capture_output=True).returncode:
        missing("Claude Code's CLI is not installed for this machine")


@pytest.fixture
def claude(installed: None, gateway: Gateway, tmp_path: Path, proxy: str) -> ClaudeCode:
    return ClaudeCode(gateway, tmp_path, proxy=proxy)


@both_dialects
def test_a_text_turn(gateway: Gateway, claude: ClaudeCode, dialect: str) -> None:
    gateway.configure_upstream(dialect)

    result = claude.run("Hi")

    assert result["result"] == "Hello, world!"
    record = gateway.record()
    assert (record.status, record.streamed, record.input_tokens, record.output_tokens) == ("completed", True, 9, 12)


@both_dialects
def test_a_tool_turn(gateway: Gateway, claude: ClaudeCode, dialect: str) -> None:
    gateway.configure_upstream(dialect)
    note = claude.folder / "note.txt"
    note.write_text("The code is 4711.")
    call = ToolCall(name="Read", id="call_read_1", arguments=json.dumps({"file_path": str(note)}))
    gateway.upstream.queue(replied(Reply(("Let me look.",), tool_calls=[call], stop="tools")))

    result = claude.run("Read note.txt.", "--allowedTools", "Read")

    assert (result["result"], result["num_turns"]) == ("Hello, world!", 2)
    assert "The code is 4711." in json.dumps(gateway.upstream.requests[-1].body["messages"][-1:])
    assert [record.status for record in gateway.settled(2)] == ["completed", "completed"]


def test_a_rejected_key(claude: ClaudeCode) -> None:
    result = claude.run("Hi", ANTHROPIC_AUTH_TOKEN="mgw_wrong")

    assert (result["api_error_status"], result["api_error_type"]) == (401, "authentication_error")
    assert result["result"] == "Failed to authenticate. API Error: 401 The API key is not valid."


def test_a_spent_budget(gateway: Gateway, claude: ClaudeCode) -> None:
    Budget.objects.create(api_key=gateway.key, amount=1, unit="tokens", period="month")

    result = claude.run("Hi")

    assert (result["api_error_status"], result["api_error_type"]) == (402, "billing_error")
    assert "Budget exceeded: 1 tokens remaining of the monthly budget of 1 tokens" in result["result"]
    assert gateway.upstream.requests == []


def test_a_rate_limit(gateway: Gateway, claude: ClaudeCode) -> None:
    APIKey.objects.filter(pk=gateway.key.pk).update(requests_per_minute=1)
    claude.run("Hi")

    result = claude.run("Hi")

    assert (result["api_error_status"], result["api_error_type"]) == (429, "rate_limit_error")
    assert "Rate limit exceeded: 1 request per minute for this API key." in result["result"]


def test_a_session_is_attributed(gateway: Gateway, claude: ClaudeCode) -> None:
    variables = {"ANTHROPIC_CUSTOM_HEADERS": "x-gateway-tag: team=search", "CLAUDE_CODE_GATEWAY_HINT_HEADERS": "1"}

    result = claude.run("Hi", **variables)

    record = gateway.record()
    assert (record.session_id, record.request_class) == (result["session_id"], "main")
    assert record.tags == {"team": "search"}


def test_the_settings_of_the_page_that_shows_the_key_work(gateway: Gateway, claude: ClaudeCode) -> None:
    """The CLI gets base URL and key from its settings file alone."""
    base_url = claude.environment.pop("ANTHROPIC_BASE_URL")
    raw_key = claude.environment.pop("ANTHROPIC_AUTH_TOKEN")
    settings = Path(claude.environment["HOME"]) / ".claude" / "settings.json"
    settings.parent.mkdir()
    settings.write_text(claude_code_settings(raw_key, base_url=base_url))

    assert claude.run("Hi")["result"] == "Hello, world!"
    assert gateway.record().status == "completed"
