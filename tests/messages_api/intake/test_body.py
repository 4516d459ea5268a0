"""Request bodies: validation of fields and conversations, and reading them from HTTP."""

import json
from io import BytesIO
from typing import Any, cast

import pytest
from anthropic.types.beta.message_create_params import MessageCreateParamsBase
from django.conf import settings
from django.core.handlers.wsgi import WSGIRequest
from django.test import RequestFactory
from gunicorn.http.body import Body as GunicornBody
from gunicorn.http.body import LengthReader
from gunicorn.http.unreader import IterUnreader
from hypothesis import given
from hypothesis import strategies as st

from messages_api.backend.protocol.types import MessagesRequest
from messages_api.errors import RequestError
from messages_api.intake import body

HELLO = {"model": "claude-test", "max_tokens": 2048, "messages": [{"role": "user", "content": "hi"}]}
PIXEL = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
ADD = {"name": "add", "input_schema": {"type": "object"}}


def these(*values: Any) -> tuple[Any, ...]:
    return values


def error_of(changes: dict[str, Any], *, strict: bool = True) -> RequestError:
    with pytest.raises(RequestError) as caught:
        body.parse(json.dumps({**HELLO, **changes}).encode(), strict=strict)
    error = caught.value
    assert (error.status, error.type) == (400, "invalid_request_error")
    assert len(error.message) <= 300
    return error


def user(*blocks: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def assistant(*blocks: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


def text(words: str = "hi") -> dict[str, Any]:
    return {"type": "text", "text": words}


def use(tool_use_id: str = "t1") -> dict[str, Any]:
    return {"type": "tool_use", "id": tool_use_id, "name": "add", "input": {"a": 1}}


def result(tool_use_id: str = "t1", **fields: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": tool_use_id, **fields}


def image(source: Any) -> dict[str, Any]:
    return {"type": "image", "source": source}


def document(source: Any) -> dict[str, Any]:
    return {"type": "document", "source": source}


# ---- fields that both APIs check


@pytest.mark.parametrize("strict", [True, False], ids=["envelope", "anthropic"])
@pytest.mark.parametrize(
    "changes, path",
    [
        *[({"model": value}, "model") for value in (None, "", 1, True, ["a"], "m" * 257, "m\0", "m\n", "m\u202e")],
        *[({"max_tokens": value}, "max_tokens") for value in these(None, "100", 1.5, 1.0, True, -1, 2**31, 10**18, [])],
        *[({"messages": value}, "messages") for value in these(None, {}, "x", [])],
        *[({"messages": [value]}, "messages[0]") for value in these(None, "x", 1, [])],
        *[({"messages": [{"content": "x", **role}]}, "messages[0].role") for role in ({}, {"role": None}, {"role": 1})],
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        *[({"messages": [{"role": "user", "content": v}]}, "messages[0].content") for v in these(None, 1, True, {})],
        *[({"stream": value}, "stream") for value in (None, "true", 1, 0)],
    ],
)
def test_fields_that_the_gateway_reads_are_validated_by_both_apis(changes, path, strict):
    error = error_of(changes, strict=strict)

    assert error.param == path
    assert path in error.message


@pytest.mark.parametrize("strict", [True, False], ids=["envelope", "anthropic"])
@pytest.mark.parametrize("field", HELLO)
def test_a_missing_required_field_is_named(field, strict):
    request = {name: value for name, value in HELLO.items() if name != field}

    with pytest.raises(RequestError) as caught:
        body.parse(json.dumps(request).encode(), strict=strict)

    assert (caught.value.message, caught.value.param) == (f"{field}: required.", field)


@pytest.mark.parametrize("strict", [True, False], ids=["envelope", "anthropic"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"max_tokens": 1},
        {"max_tokens": 2**31 - 1},
        {"model": "m" * 256},
        {"model": "<img src=x>/../ä"},
        {"stream": True},
        {"messages": [{"role": "user", "content": "a\0\u2028b"}]},
        {"messages": [user(text())]},
    ],
)
def test_valid_values_are_accepted_and_the_request_equals_the_json(changes, strict):
    raw = json.dumps({**HELLO, **changes}).encode()

    request = body.parse(raw, strict=strict)

    assert request == json.loads(raw)


@pytest.mark.parametrize("strict", [True, False], ids=["envelope", "anthropic"])
def test_10_000_messages_are_accepted_and_more_than_any_client_sends_are_rejected(strict):
    messages = [user(text("a"))] * 10_000

    raw = json.dumps({**HELLO, "messages": messages}).encode()
    assert len(body.parse(raw, strict=strict)["messages"]) == 10_000

    with pytest.raises(RequestError) as caught:
        body.parse(json.dumps({**HELLO, "messages": messages * 10}).encode(), strict=strict)
    assert caught.value.status == 413 and "messages" in caught.value.message


@pytest.mark.parametrize(
    "changes",
    [
        {"max_tokens": 0},
        {"n": 1, "api_base": "https://evil.test", "temperature": "hot", "tools": {}, "metadata": 1, "system": 1},
        {"messages": [{"role": "admin", "content": [], "api_base": "x"}, {"role": "user", "content": [1, None]}]},
        {"messages": [user(result("unknown"))]},
        {"model_extra": {"x" * 1000: 1}},
    ],
)
def test_the_anthropic_api_leaves_other_fields_to_the_upstream(changes):
    raw = json.dumps({**HELLO, **changes}).encode()

    assert body.parse(raw, strict=False) == json.loads(raw)
    error_of(changes, strict=True)


# ---- fields of the envelope API

THINKING = {"type": "enabled", "budget_tokens": 1024}
SCHEMA = {"type": "json_schema", "schema": {"type": "object"}}


@pytest.mark.parametrize(
    "changes",
    [
        *[{"system": value} for value in ("", "Be brief.", [], [text()])],
        {"system": [{**text(), "cache_control": {"type": "ephemeral", "ttl": "1h"}, "citations": None}]},
        *[{field: value} for field in ("temperature", "top_p") for value in (0, 1, 0.5, 1.0, 1e-400)],
        *[{"top_k": value} for value in (0, 40, 10**30)],
        *[{"stop_sequences": value} for value in ([], ["x"], ["\n\nHuman:"], ["s"] * 64)],
        *[{"metadata": value} for value in ({}, {"user_id": None}, {"user_id": "=HYPERLINK(1)"})],
        {
            "tools": [
                ADD,
                {**ADD, "name": "a-Z_0" * 12, "type": "custom", "strict": True},
                {**ADD, "name": "b", "type": None},
            ]
        },
        {"tools": [{"name": "a", "input_schema": {}}]},
        {"tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": 3}]},
        {"tools": [{"type": "tool_search_tool_bm25", "name": "tool_search_tool_bm25"}]},
        {"tools": [{"type": "computer_toolset_20260801"}], "tool_choice": {"type": "tool", "name": "computer_click"}},
        {"tools": [{"type": "mcp_toolset", "mcp_server_name": "x"}, {"type": "mcp_toolset", "mcp_server_name": "y"}]},
        *[{"tools": [ADD], "tool_choice": {"type": kind}} for kind in ("auto", "any", "none")],
        {"tools": [ADD], "tool_choice": {"type": "tool", "name": "add", "disable_parallel_tool_use": True}},
        *[
            {"thinking": value}
            for value in (THINKING, {"type": "adaptive"}, {"type": "between_tools"}, {"type": "disabled"})
        ],
        {"thinking": {**THINKING, "budget_tokens": 2047, "display": "omitted"}},
        {"output_config": {"effort": "max", "format": SCHEMA, "task_budget": {"total": 1}}},
        {"output_format": SCHEMA},
        {
            "service_tier": "standard_only",
            "speed": "fast",
            "inference_geo": "eu",
            "cache_control": {"type": "ephemeral"},
        },
        *[{"container": value} for value in (None, "c_1", {"id": "c_1", "skills": [{"type": "anthropic"}]})],
        {"diagnostics": {"previous_message_id": None}},
        {"context_management": {"edits": [{"type": "compact_20260112", "trigger": {}}]}},
        {"mcp_servers": [{"type": "url", "url": "https://mcp.ok.test/sse", "name": "x", "authorization_token": "y"}]},
        *[{"fallbacks": value} for value in (None, "default", [{"model": "m", "max_tokens": 5}])],
        {"fallback_credit_token": "x", "compaction": {"type": "summarize"}, "thread": {}, "billing_policy": {}},
    ],
)
def test_documented_fields_are_accepted(changes):
    raw = json.dumps({**HELLO, **changes}).encode()

    assert body.parse(raw, strict=True) == json.loads(raw)


@pytest.mark.parametrize(
    "changes, path",
    [
        ({"max_tokens": 0}, "max_tokens"),
        *[({"system": value}, "system") for value in these(1, None, True, {})],
        ({"system": ["x"]}, "system[0]"),
        ({"system": [{"text": "x"}]}, "system[0].type"),
        ({"system": [text("")]}, "system[0].text"),
        ({"system": [image(PIXEL)]}, "system[0].type"),
        *[
            ({field: value}, field)
            for field in ("temperature", "top_p")
            for value in these(-0.1, 1.1, 2, 10**400, "0.5", True, None, [])
        ],
        *[({"top_k": value}, "top_k") for value in (-1, 1.5, 2.0, "1", True, None)],
        *[({"stop_sequences": value}, "stop_sequences") for value in ("x", None, ["s"] * 65)],
        *[({"stop_sequences": ["x", value]}, "stop_sequences[1]") for value in ("", " ", "\n\t", 1, None)],
        *[({"metadata": value}, "metadata") for value in these("x", None, [])],
        *[({"metadata": {"user_id": value}}, "metadata.user_id") for value in these(1, {})],
        ({"metadata": {"user_id": "x", "tags": ["free"]}}, "metadata.tags"),
        *[({"tools": value}, "tools") for value in these({}, None, "x")],
        ({"tools": ["x"]}, "tools[0]"),
        ({"tools": [{"input_schema": {}}]}, "tools[0].name"),
        *[
            ({"tools": [{**ADD, "name": v}]}, "tools[0].name")
            for v in (None, 1, "", "a b", "a\n", "ä", "a" * 65, "a.b")
        ],
        ({"tools": [{"name": "a"}]}, "tools[0].input_schema"),
        *[({"tools": [{**ADD, "input_schema": v}]}, "tools[0].input_schema") for v in these(None, "x", [], True)],
        ({"tools": [{**ADD, "input_schema": {"type": "string"}}]}, "tools[0].input_schema.type"),
        ({"tools": [ADD, {**ADD, "name": "b"}, ADD]}, "tools[2].name"),
        *[({"tools": [{"type": v, "name": "x"}]}, "tools[0].type") for v in ("function", "bash", "bash_1", "", 1)],
        ({"tools": [{"type": "bash_20250124", "name": "a b"}]}, "tools[0].name"),
        *[({"tool_choice": value}, "tool_choice") for value in these("auto", None, [])],
        *[({"tool_choice": {"type": value}}, "tool_choice.type") for value in ("required", 1, None)],
        ({"tool_choice": {}}, "tool_choice.type"),
        ({"tool_choice": {"type": "tool"}, "tools": [ADD]}, "tool_choice.name"),
        ({"tool_choice": {"type": "tool", "name": "zzz"}}, "tool_choice.name"),
        ({"tool_choice": {"type": "tool", "name": "zzz"}, "tools": [ADD]}, "tool_choice.name"),
        ({"tool_choice": {"type": "none", "disable_parallel_tool_use": True}}, "tool_choice.disable_parallel_tool_use"),
        ({"tool_choice": {"type": "auto", "disable_parallel_tool_use": 1}}, "tool_choice.disable_parallel_tool_use"),
        *[({"thinking": value}, "thinking") for value in ("on", None, True)],
        *[({"thinking": {"type": value}}, "thinking.type") for value in ("on", None)],
        ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens"),
        *[
            ({"thinking": {"type": "enabled", "budget_tokens": value}}, "thinking.budget_tokens")
            for value in (2048, 99999, 1023, 0, -1, "1024", 1024.0, True, None)
        ],
        ({"output_config": {"effort": "huge"}}, "output_config.effort"),
        ({"output_config": {"format": {"type": "json_schema"}}}, "output_config.format.schema"),
        ({"output_format": "json"}, "output_format"),
        ({"service_tier": "cheap"}, "service_tier"),
        ({"speed": "slow"}, "speed"),
        ({"inference_geo": 1}, "inference_geo"),
        ({"cache_control": {"type": "ephemeral", "ttl": "2h"}}, "cache_control.ttl"),
        ({"container": 1}, "container"),
        ({"diagnostics": "x"}, "diagnostics"),
        ({"context_management": {"edits": [{"type": "forget"}]}}, "context_management.edits[0].type"),
        ({"mcp_servers": [{"type": "url", "name": "x"}]}, "mcp_servers[0].url"),
        ({"mcp_servers": [{"type": "stdio", "url": "https://ok.test/", "name": "x"}]}, "mcp_servers[0].type"),
        ({"fallbacks": ["gpt-x"]}, "fallbacks[0]"),
        ({"fallbacks": [{}]}, "fallbacks[0].model"),
        *[({field: 1}, field) for field in ("fallback_credit_token", "compaction", "thread", "billing_policy")],
    ],
)
def test_documented_fields_of_a_wrong_type_are_rejected_with_their_path(changes, path):
    error = error_of(changes)

    assert error.param == path
    assert path in error.message or error.message.startswith("unknown_field:")


@pytest.mark.parametrize("name", ["api_base", "n", "__proto__", "Model", "max_tokens ", "a b", "prénom"])
def test_an_undocumented_field_is_rejected_by_name(name):
    error = error_of({name: 1})

    assert error.message == f"unknown_field: this API does not document the field '{name}'."
    assert error.param == name


@pytest.mark.parametrize("name", ["", "x\n", "\u202emodel", "mgw_" + "a" * 46, "x" * 100_000, "`\0`"])
def test_an_undocumented_name_that_is_long_or_not_printable_is_not_repeated(name):
    error = error_of({name: 1})
    assert error.message == "unknown_field: this API does not document one of the fields of the request."
    assert error.param is None

    error = error_of({"messages": [{"role": "user", "content": "x", name: 1}]})
    assert error.message == "unknown_field: this API does not document one of the fields of messages[0]."
    assert error.param == "messages[0]"


def test_the_sdks_fields_are_documented():
    sdk = set(MessageCreateParamsBase.__annotations__) - {"betas", "user_profile_id", "workspace_id"}

    assert sdk <= body.DOCUMENTED


def test_an_undocumented_key_of_a_message_is_rejected_with_its_path():
    error = error_of({"messages": [{"role": "user", "content": "x", "api_base": "x"}]})

    assert error.message == "unknown_field: this API does not document the field 'api_base'."
    assert error.param == "messages[0].api_base"


# ---- messages of the envelope API


@pytest.mark.parametrize(
    "messages",
    [
        pytest.param([user(text()), assistant(text()), user(text())], id="turns"),
        pytest.param([user(text()), user(text())], id="one role in a row"),
        pytest.param([user(text()), assistant()], id="empty prefill"),
        pytest.param([user(text()), {"role": "assistant", "content": ""}], id="empty prefill as a string"),
        pytest.param([user(text()), {"role": "system", "content": "Now in verse."}], id="system later"),
        pytest.param([{"role": "system", "content": "x"}, user(text())], id="system before the first turn"),
        pytest.param([user(text()), assistant(text("\n"), use()), user(result(content="2"))], id="tool result"),
        pytest.param(
            [user(text()), assistant(use("functions.Bash:0")), user(result("functions.Bash:0"))],
            id="foreign id",
        ),
        pytest.param(
            [
                user(text()),
                assistant(use("a")),
                assistant(use("b")),
                user(result("a")),
                user(result("b")),
            ],
            id="rows",
        ),
        pytest.param(
            [user(text()), assistant(use("a"), use("b")), user(result("b"), text(), result("a"))],
            id="any order",
        ),
        pytest.param(
            [user(text()), assistant(use()), user(result()), assistant(use()), user(result())],
            id="id again",
        ),
        pytest.param([user(text()), assistant(use()), user(text())], id="no tool result"),
        pytest.param(
            [user(text()), assistant(use()), user(result(content=[text(), image(PIXEL)]))],
            id="tool result with image",
        ),
        pytest.param([user(text()), assistant(use()), user(result(content="", is_error=True))], id="error"),
        pytest.param([user(image(PIXEL)), assistant(text())], id="image"),
        pytest.param([user(image({"type": "url", "url": "https://ok.test/x.png"}))], id="image by url"),
        pytest.param([user(image({"type": "file", "file_id": "file_1"}))], id="image by file"),
        pytest.param([user(document({"type": "base64", "media_type": "application/pdf", "data": "UERG"}))], id="PDF"),
        pytest.param([user(document({"type": "text", "media_type": "text/plain", "data": ""}))], id="text document"),
        pytest.param([user(document({"type": "content", "content": "x"}))], id="content document"),
        pytest.param(
            [user(document({"type": "content", "content": [text(), image(PIXEL)]}))], id="blocks in a document"
        ),
        pytest.param(
            [user({"type": "search_result", "source": "s", "title": "t", "content": [text()]})], id="search result"
        ),
        pytest.param([user(text()), assistant({"type": "thinking", "thinking": "", "signature": "x"})], id="thinking"),
        pytest.param([user(text()), assistant({"type": "redacted_thinking", "data": "x"})], id="redacted thinking"),
        pytest.param([user({"type": "container_upload", "file_id": "file_1"})], id="container upload"),
        pytest.param(
            [
                user(text()),
                assistant(
                    {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {}},
                    {"type": "web_search_tool_result", "tool_use_id": "s1", "content": []},
                    {"type": "mcp_tool_use", "id": "m1", "name": "x", "server_name": "y", "input": {}},
                    {"type": "mcp_tool_result", "tool_use_id": "m1", "content": "z"},
                ),
            ],
            id="tools of the server",
        ),
        *[
            pytest.param([user(text()), assistant({"type": kind, "anything": 1})], id=kind)
            for kind in ("compaction", "fallback", "advisor", "tool_addition", "tool_removal")
        ],
    ],
)
def test_valid_conversations_are_accepted(messages):
    raw = json.dumps({**HELLO, "messages": messages}).encode()

    assert body.parse(raw, strict=True) == json.loads(raw)


URL = {"type": "url", "url": "http://169.254.169.254/"}


@pytest.mark.parametrize(
    "messages, path",
    [
        ([{"role": "admin", "content": "x"}], "messages[0].role"),
        ([{"role": "assistant", "content": "x"}], "messages[0].role"),
        ([{"role": "system", "content": "x"}, assistant(text())], "messages[1].role"),
        ([{"role": "system", "content": "x"}], "messages"),
        ([user()], "messages[0].content"),
        ([{"role": "user", "content": ""}], "messages[0].content"),
        ([user(text()), assistant(), user(text())], "messages[1].content"),
        ([user(text()), {"role": "system", "content": ""}], "messages[1].content"),
        *[([user(value)], "messages[0].content[0]") for value in these(None, "x", 1, [])],
        *[([user({"type": value})], "messages[0].content[0].type") for value in ("nope", "input_audio", "", 1, None)],
        ([user({"text": "x"})], "messages[0].content[0].type"),
        ([user({"type": "text"})], "messages[0].content[0].text"),
        *[([user(text(), {"type": "text", "text": v})], "messages[0].content[1].text") for v in ("", None, 1, ["x"])],
        ([user({**text(), "cache_control": {"type": "forever"}})], "messages[0].content[0].cache_control.type"),
        ([user(result())], "messages[0].content[0].tool_use_id"),
        ([user(text()), assistant(use("a")), user(result("b"))], "messages[2].content[0].tool_use_id"),
        (
            [user(text()), assistant(use()), user(result(), result())],
            "messages[2].content[1].tool_use_id",
        ),
        (
            [user(text()), assistant(use()), user(text()), assistant(text()), user(result())],
            "messages[4].content[0].tool_use_id",
        ),
        ([user(text()), assistant(use(), result())], "messages[1].content[1].tool_use_id"),
        ([user(text()), assistant(use()), user(result(content=1))], "messages[2].content[0].content"),
        (
            [user(text()), assistant(use()), user(result(content=[use()]))],
            "messages[2].content[0].content[0].type",
        ),
        ([user(text()), assistant(use()), user(result(is_error="no"))], "messages[2].content[0].is_error"),
        ([user(text()), assistant({**use(), "input": "{}"})], "messages[1].content[0].input"),
        ([user(text()), assistant({"type": "tool_use", "id": "x", "input": {}})], "messages[1].content[0].name"),
        ([user({"type": "image"})], "messages[0].content[0].source"),
        ([user(image("x"))], "messages[0].content[0].source"),
        ([user(image({}))], "messages[0].content[0].source.type"),
        ([user(image({**PIXEL, "media_type": "image/svg+xml"}))], "messages[0].content[0].source.media_type"),
        ([user(image({**PIXEL, "data": "@@"}))], "messages[0].content[0].source.data"),
        ([user(image({**PIXEL, "data": ""}))], "messages[0].content[0].source.data"),
        ([user(image(URL))], "messages[0].content[0].source.url"),
        ([user(document(URL))], "messages[0].content[0].source.url"),
        ([user(document(PIXEL))], "messages[0].content[0].source.media_type"),
        (
            [user(document({"type": "content", "content": [image(URL)]}))],
            "messages[0].content[0].source.content[0].source.url",
        ),
        (
            [user(text()), assistant(use()), user(result(content=[image(URL)]))],
            "messages[2].content[0].content[0].source.url",
        ),
    ],
)
def test_invalid_conversations_are_rejected_with_the_path(messages, path):
    error = error_of({"messages": messages})

    assert error.param == path
    assert path in error.message


def test_600_images_are_accepted_and_one_more_is_rejected_in_any_block():
    most = [user(*[image(PIXEL)] * 599), assistant(use()), user(result(content=[image(PIXEL)]))]
    raw = json.dumps({**HELLO, "messages": most}).encode()

    assert body.parse(raw, strict=True)
    assert (
        error_of({"messages": [*most, user(document({"type": "content", "content": [image(PIXEL)]}))]}).param
        == "messages"
    )


def test_600_documents_are_accepted_and_one_more_is_rejected_before_its_url_is_checked():
    most = [document({"type": "url", "url": "https://ok.test/x.pdf"})] * 600
    texts = [document({"type": "text", "media_type": "text/plain", "data": "x"})] * 600
    raw = json.dumps({**HELLO, "messages": [user(*most, *texts)]}).encode()

    assert body.parse(raw, strict=True)
    assert error_of({"messages": [user(*most, document(URL))]}).param == "messages"


# ---- arbitrary values

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
PARTS = st.sampled_from([text(), use(), result(), image(PIXEL), image(URL), document(PIXEL), {"type": "thinking"}])
NAMES = st.sampled_from([*sorted(body.DOCUMENTED), "type", "role", "content", "source", "x"])
SPOILED = st.recursive(
    JSON | PARTS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4), max_leaves=8
)


def check_outcome(raw: bytes, *, strict: bool) -> None:
    try:
        request = body.parse(raw, strict=strict)
    except RequestError as error:
        assert error.status == 400
        assert 0 < len(error.message) <= 300
        return
    assert repr(request) == repr(json.loads(raw))


@given(NAMES, SPOILED, st.booleans())
def test_any_value_in_any_field_is_accepted_unchanged_or_rejected(name, value, strict):
    check_outcome(json.dumps({**HELLO, name: value}).encode(), strict=strict)


@given(SPOILED, NAMES, SPOILED, st.booleans())
def test_any_message_and_block_is_accepted_unchanged_or_rejected(message, name, value, strict):
    messages = [
        user(text()),
        message,
        assistant(use()),
        user({**result(), name: value}, {**image(PIXEL), name: value}),
    ]

    check_outcome(json.dumps({**HELLO, "messages": messages}).encode(), strict=strict)


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_accepted_unchanged_or_rejected(raw, strict):
    check_outcome(raw, strict=strict)


@pytest.mark.parametrize("field", sorted(body.DOCUMENTED))
@pytest.mark.parametrize(
    "wrap", [lambda v: v, lambda v: [v], lambda v: {v: v}, lambda v: {"type": v}, lambda v: [{"type": v}]]
)
def test_no_error_message_repeats_values_of_the_client(field, wrap):
    canary = "canary " * 10

    for strict in (True, False):
        try:
            body.parse(json.dumps({**HELLO, field: wrap(canary)}).encode(), strict=strict)
        except RequestError as error:
            assert "canary" not in f"{error.message} {error.param}"


# ---- from the HTTP request

RAW = json.dumps(HELLO).encode()


def http_request(stream: Any, **environ: str) -> WSGIRequest:
    return WSGIRequest({"REQUEST_METHOD": "POST", "PATH_INFO": "/api/v1/messages", "wsgi.input": stream, **environ})


class Broken(BytesIO):
    """A connection that the client resets after the bytes."""

    def read(self, size: int | None = -1, /) -> bytes:
        if piece := super().read(size):
            return piece
        raise ConnectionResetError


def status_of(request: WSGIRequest) -> int:
    with pytest.raises(RequestError) as caught:
        body.receive(request)
    return caught.value.status


@pytest.mark.parametrize(
    "content_type", ["application/json", "text/xml; charset=bz2", "multipart/form-data; boundary=b", ""]
)
def test_the_body_is_read_unchanged_whatever_its_content_type(content_type):
    request = RequestFactory().generic("POST", "/", RAW, content_type=content_type)

    received = body.read(request, strict=True)

    assert received == body.RequestBody(raw=RAW, request=cast(MessagesRequest, HELLO))


def test_the_body_is_read_from_gunicorn_in_any_pieces():
    pieces = IterUnreader([RAW[i : i + 7] for i in range(0, len(RAW), 7)] + [b"POST / HTTP/1.1\r\n"])
    stream = GunicornBody(LengthReader(pieces, len(RAW)))

    assert body.receive(http_request(stream, CONTENT_LENGTH=str(len(RAW)))) == RAW


def test_a_body_larger_than_djangos_own_limit_is_read():
    raw = b"x" * 5_000_000

    assert body.receive(RequestFactory().post("/", data=raw, content_type="application/json")) == raw


def test_the_body_is_read_after_something_else_has_read_it():
    request = RequestFactory().post("/", data=RAW, content_type="application/json")

    assert request.body == body.receive(request)


@pytest.mark.parametrize("environ", [{}, {"CONTENT_LENGTH": ""}, {"CONTENT_LENGTH": "0"}])
def test_a_missing_body_is_empty_and_not_json(environ):
    request = http_request(Broken(), **environ)

    with pytest.raises(RequestError) as caught:
        body.read(request, strict=True)

    assert caught.value.status == 400


def test_a_chunked_body_is_rejected_without_a_length():
    assert status_of(http_request(Broken(), HTTP_TRANSFER_ENCODING="chunked")) == 411


@pytest.mark.parametrize("length", [str(32 * 2**20 + 1), "9" * 20, "9" * 5000])
def test_a_declared_length_over_the_limit_is_rejected_before_a_byte_is_read(length):
    stream = Broken(RAW)
    request = http_request(stream)
    request.META["CONTENT_LENGTH"] = length

    with pytest.raises(RequestError) as caught:
        body.receive(request)

    assert (caught.value.status, caught.value.type) == (413, "request_too_large")
    assert stream.tell() == 0


def test_a_body_of_exactly_the_limit_is_read():
    raw = b" " * settings.MAX_BODY_BYTES

    assert body.receive(http_request(BytesIO(raw), CONTENT_LENGTH=str(len(raw)))) == raw


@pytest.mark.parametrize("length", ["-1", "+5", "5.0", "0x5", "1_0", " 5", "5, 5", "\u0665", "x"])
def test_a_length_that_is_not_a_decimal_number_is_rejected(length):
    assert status_of(http_request(BytesIO(RAW), CONTENT_LENGTH=length)) == 400


@pytest.mark.parametrize("encoding", ["gzip", "br", "identity, gzip", "x"])
def test_an_encoded_body_is_rejected(encoding):
    request = http_request(BytesIO(RAW), CONTENT_LENGTH=str(len(RAW)), HTTP_CONTENT_ENCODING=encoding)

    with pytest.raises(RequestError, match="Content-Encoding") as caught:
        body.receive(request)

    assert caught.value.status == 400


@pytest.mark.parametrize("encoding", ["", "identity", " Identity "])
def test_identity_encoding_is_accepted(encoding):
    request = http_request(BytesIO(RAW), CONTENT_LENGTH=str(len(RAW)), HTTP_CONTENT_ENCODING=encoding)

    assert body.receive(request) == RAW


@pytest.mark.parametrize("stream", [BytesIO, Broken])
def test_a_body_that_ends_early_is_rejected(stream):
    request = http_request(stream(RAW), CONTENT_LENGTH=str(len(RAW) + 1))

    with pytest.raises(RequestError, match="ended early") as caught:
        body.receive(request)

    assert caught.value.status == 400
