"""Pages of the list of models."""

from typing import get_args

import pytest
from anthropic.types import ModelLine

from messages_api.backend.protocol import model_list
from messages_api.backend.protocol.model_list import ListedModel
from messages_api.backend.protocol.types import JSONObject
from messages_api.backend.protocol.unsupported import UnsupportedRequest

ENTRIES = [{"id": name} for name in "abcde"]


def ids(page: JSONObject) -> str:
    return "".join(entry["id"] for entry in page["data"])


def test_a_model_has_defaults_and_keeps_its_own_fields() -> None:
    assert model_list.model({"id": "a", "display_name": None, "max_tokens": 5}) == {
        "type": "model",
        "id": "a",
        "display_name": "a",
        "created_at": "1970-01-01T00:00:00Z",
        "max_tokens": 5,
    }


def test_an_empty_page_has_no_ids() -> None:
    assert model_list.page([]) == {"data": [], "has_more": False, "first_id": None, "last_id": None}


@pytest.mark.parametrize(
    ("cursor", "limit", "shown", "has_more"),
    [
        ({}, 5, "abcde", False),
        ({}, 4, "abcd", True),
        ({"after_id": "b"}, 2, "cd", True),
        ({"after_id": "b"}, 3, "cde", False),
        ({"after_id": "e"}, 3, "", False),
        ({"before_id": "d"}, 2, "bc", True),
        ({"before_id": "d"}, 3, "abc", False),
        ({"before_id": "a"}, 3, "", False),
        ({"after_id": "a", "before_id": "e"}, 2, "bc", True),
    ],
)
def test_pages_follow_their_cursor(cursor: dict[str, str], limit: int, shown: str, has_more: bool) -> None:
    page = model_list.page(ENTRIES, limit=limit, **cursor)

    assert (ids(page), page["has_more"]) == (shown, has_more)
    assert (page["first_id"], page["last_id"]) == (shown[:1] or None, shown[-1:] or None)


def test_a_page_has_twenty_models_by_default() -> None:
    page = model_list.page([{"id": str(number)} for number in range(21)])

    assert (len(page["data"]), page["has_more"]) == (20, True)


@pytest.mark.parametrize("limit", [0, 1001, -1])
def test_a_limit_out_of_range_is_rejected(limit: int) -> None:
    with pytest.raises(UnsupportedRequest) as error:
        model_list.page(ENTRIES, limit=limit)

    assert error.value.param == "limit"


@pytest.mark.parametrize("limit", [1, 1000])
def test_the_ends_of_the_range_are_in_it(limit: int) -> None:
    assert model_list.page(ENTRIES, limit=limit)["first_id"] == "a"


@pytest.mark.parametrize("param", ["after_id", "before_id"])
def test_an_unknown_cursor_is_rejected(param: str) -> None:
    with pytest.raises(UnsupportedRequest) as error:
        model_list.page(ENTRIES, limit=5, **{param: "z"})

    assert error.value.param == param


@pytest.mark.parametrize(
    ("entry", "read"),
    [
        ({"id": "a", "created_at": "2026-01-01T01:00:00+01:00"}, {"id": "a", "created_at": "2026-01-01T00:00:00Z"}),
        ({"id": "a", "created_at": "yesterday", "lifecycle": "new", "max_tokens": "many"}, {"id": "a"}),
        ({"id": "a", "created_at": "0001-01-01T00:00:00+23:00", "display_name": ""}, {"id": "a"}),
        ({"id": "a", "display_name": 7, "max_input_tokens": -1, "retires_at": None}, {"id": "a"}),
        ({"id": "a", "capabilities": {"batch": True}, "line": "ode", "allowed_fallback_models": ["b", 1]}, {"id": "a"}),
        ({"id": "a", "line": "opus", "allowed_fallback_models": []},) * 2,
    ],
)
def test_fields_that_a_strict_client_cannot_read_are_left_out(entry: JSONObject, read: JSONObject) -> None:
    assert model_list.from_anthropic({"data": [entry]}) == [read]


def test_all_model_lines_of_the_client_are_known() -> None:
    assert get_args(ModelLine) == model_list.LINES


def test_what_upstreams_say_differently_is_left_out() -> None:
    a = ListedModel(id="a", line="opus", max_tokens=1, capabilities={"batch": {"supported": True}})
    b = ListedModel(id="a", line="opus", max_tokens=2, capabilities={"batch": {"supported": False}})

    assert model_list.agreed([a]) == model_list.agreed([a, a]) == a
    assert model_list.agreed([a, b]) == {"id": "a", "line": "opus", "max_tokens": 1}
    assert model_list.agreed([a, {"id": "a"}]) == {"id": "a", "max_tokens": 1}
    assert model_list.agreed([{"id": "a"}, a]) == {"id": "a"}


@pytest.mark.parametrize("response", [None, [], {}, {"data": None}, {"data": [None, {}, {"id": ""}, {"id": "a b"}]}])
def test_entries_without_a_usable_id_are_left_out(response: object) -> None:
    assert model_list.from_anthropic(response) == model_list.from_openai(response) == []


def test_a_list_is_bounded_and_names_each_model_once() -> None:
    entries = [{"id": str(number // 2)} for number in range(4_000)]

    assert len(model_list.from_openai({"data": entries})) == 1_000


def test_openai_times_and_extensions_are_read() -> None:
    entry = {"id": "a", "created": 1_767_225_600, "name": "A", "max_model_len": 8_192}

    assert model_list.from_openai({"data": [entry, {"id": "b", "created": 2**40}]}) == [
        {"id": "a", "display_name": "A", "created_at": "2026-01-01T00:00:00Z", "max_input_tokens": 8_192},
        {"id": "b"},
    ]
