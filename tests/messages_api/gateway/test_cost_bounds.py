"""What a request may cost at most: the samplings and tool uses that its body allows, and what has no bound."""

import json
from typing import Any

import pytest

from keys.domain.prices import Price
from keys.errors import CostUnbounded, Unpriced
from keys.models import Budget, ModelPrice
from keys.pricing.max_cost import Sampling
from keys.pricing.price_book import PriceBook
from messages_api.backend.endpoint import Endpoint, Target, Timeouts
from messages_api.backend.protocol.profile import Profile
from messages_api.backend.protocol.token_estimate import Size, measure
from messages_api.gateway.cost_bounds import CostBounds
from messages_api.gateway.demand import anthropic_demand, translated_demand
from tests.keys.pricing.books import book, price
from tests.keys.pricing.test_max_cost import modifier
from tests.support.gateway import Gateway

SEARCH = {"type": "web_search_20250305", "name": "web_search"}
FETCH = {"type": "web_fetch_20260209", "name": "web_fetch"}
ADVISOR = {"type": "advisor_20260301", "name": "advisor", "model": "big"}
CODE = {"type": "code_execution_20250825", "name": "code_execution"}
CLEARING = {"type": "clear_thinking_20251015"}
CLIENT = {"name": "get", "input_schema": {"type": "object"}}
BASH = {"type": "bash_20250124", "name": "bash"}


def request(**fields: Any) -> dict[str, Any]:
    return {"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "Hi"}], **fields}


def target(dialect: str = "anthropic", **profile: Any) -> Target:
    endpoint = Endpoint(
        name="u",
        dialect=dialect,
        base_url="http://127.0.0.1:1",
        credential="",
        profile=Profile.from_mapping(profile),
        timeouts=Timeouts(),
    )
    return Target(endpoint=endpoint, model="m")


def bounds(body: dict[str, Any], *prices: Price) -> CostBounds:
    known: PriceBook = book(*(prices or (price(),)))
    return CostBounds(body, measure(body), known)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "growth", "searches", "samplings"),
    [
        pytest.param({}, 0, 0, [], id="nothing else"),
        pytest.param({"tools": [CLIENT, BASH]}, 0, 0, [], id="tools of the client"),
        pytest.param({"tools": [SEARCH | {"max_uses": 3}]}, 30_000, 3, [], id="searches"),
        pytest.param({"tools": [SEARCH | {"max_uses": 0}]}, 0, 0, [], id="no search"),
        pytest.param({"tools": [FETCH | {"max_uses": 2, "max_content_tokens": 500}]}, 1_000, 0, [], id="fetches"),
        pytest.param({"tools": [CODE]}, 100_000, 0, [], id="a tool whose uses no field bounds"),
        pytest.param({"mcp_servers": [{"type": "url"}]}, 100_000, 0, [], id="MCP servers"),
        pytest.param(
            {"tools": [ADVISOR | {"max_uses": 2, "max_tokens": 9}]},
            20_000,
            0,
            [Sampling(model="big", times=2, max_tokens=9, param="tools[0].model", may_respond=False)],
            id="an advisor",
        ),
        pytest.param(
            {"fallbacks": [{"model": "a"}, {"model": "b", "max_tokens": 7, "speed": "fast"}]},
            0,
            0,
            [
                Sampling(model="a", max_tokens=100, param="fallbacks[0].model"),
                Sampling(model="b", max_tokens=7, param="fallbacks[1].model", facts={"speed": "fast"}),
            ],
            id="fallbacks",
        ),
        *(
            pytest.param(
                fields, 0, 0, [Sampling(max_tokens=None, param="compaction", may_respond=False)], id=f"compaction {i}"
            )
            for i, fields in enumerate(
                [
                    {"compaction": {"type": "auto"}},
                    {"context_management": {"edits": [CLEARING, {"type": "compact_20260112"}]}},
                ]
            )
        ),
        pytest.param({"context_management": {"edits": [CLEARING]}}, 0, 0, [], id="edits"),
        pytest.param({"tools": 7, "fallbacks": 7, "context_management": []}, 0, 0, [], id="other shapes"),
    ],
)
def test_what_a_request_allows_beside_its_response(
    fields: dict[str, Any], growth: int, searches: int, samplings: list[Sampling]
) -> None:
    found = anthropic_demand(request(**fields), Size(1_000))

    assert (found.input_tokens, found.web_searches) == (1_000 + growth, searches)
    assert list(found.samplings) == [Sampling(max_tokens=100), *samplings]


def test_a_tool_that_a_block_adds_counts() -> None:
    added = {"type": "tool_addition", "tool": {"definition": SEARCH | {"max_uses": 4}}}
    body = request(messages=[{"role": "user", "content": [added]}])

    assert anthropic_demand(body, measure(body)).web_searches == 4  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [CLIENT, SEARCH]}, "tools[1].max_uses"),
        ({"tools": [FETCH]}, "tools[0].max_uses"),
        ({"tools": [ADVISOR | {"max_uses": "many"}]}, "tools[0].max_uses"),
        ({"fallbacks": "default"}, "fallbacks"),
    ],
)
def test_what_has_no_bound_is_rejected_with_the_field_to_change(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(CostUnbounded) as caught:
        bounds(request(**fields)).affordable([target()])

    assert caught.value.param == param and param in caught.value.message


def test_a_setting_bounds_the_uses_of_tools(settings: Any) -> None:
    settings.SERVER_TOOL_USES = 6

    assert anthropic_demand(request(tools=[SEARCH]), Size(0)).web_searches == 6


def test_an_upstream_to_which_the_request_is_translated_runs_none_of_them() -> None:
    body = request(tools=[SEARCH], fallbacks="default")

    assert len(translated_demand(body, Size(0)).samplings) == 1
    affordable = bounds(body).affordable([target(), target("openai")])
    assert [each.target.endpoint.dialect for each in affordable] == ["openai"]
    assert bounds(body).tokens(target()) == bounds(body).tokens(target("openai"))


def test_the_dearest_target_is_reserved_and_one_without_a_price_is_left_out() -> None:
    other = Target(endpoint=target().endpoint, model="unknown")
    costs = bounds(request()).affordable([other, target()])

    assert [each.target.model for each in costs] == ["m"]
    with pytest.raises(Unpriced):
        bounds(request()).affordable([other])


def test_a_model_without_a_price_is_named_by_its_field() -> None:
    with pytest.raises(Unpriced) as caught:
        bounds(request(tools=[ADVISOR | {"max_uses": 1}])).affordable([target()])

    assert caught.value.param == "tools[0].model"


@pytest.mark.parametrize("path", ["/api/v1/messages", "/api/anthropic/v1/messages"])
def test_a_cost_budget_needs_a_bound(gateway: Gateway, path: str) -> None:
    ModelPrice.objects.create(model_pattern="*", input_price=1_000_000, output_price=1_000_000, web_search_price=10_000)
    Budget.objects.create(api_key=gateway.key, period="total", unit="usd", amount=10**9)
    gateway.configure_upstream("anthropic")
    body = {"model": "claude-3", "max_tokens": 64, "messages": [{"role": "user", "content": "Hi"}], "tools": [SEARCH]}

    response = gateway.post(path, body)

    assert response.status == 400 and gateway.upstream.requests == []
    assert "tools[0].max_uses" in json.dumps(response.json())
    record = gateway.record()
    assert (record.status, record.error_type) == ("rejected", "invalid_request_error")


@pytest.mark.parametrize(
    ("profile", "asked", "factor"),
    [
        pytest.param({}, "priority", 1, id="dropped"),
        pytest.param({"default_service_tier": "priority"}, "flex", 2, id="dropped, and the project has another"),
        pytest.param({"service_tiers": ["priority", "flex"]}, "priority", 2, id="sent"),
        pytest.param(
            {"service_tiers": ["flex"], "default_service_tier": "priority"}, "flex", 1, id="sent and less expensive"
        ),
        pytest.param({"service_tiers": ["default"], "default_service_tier": "priority"}, "auto", 2, id="left open"),
    ],
)
def test_a_service_tier_counts_where_it_is_sent(profile: dict[str, Any], asked: str, factor: int) -> None:
    tiers = (modifier("service_tier", "priority", 20_000), modifier("service_tier", "flex", 5_000))
    openai = target("openai", **profile)

    standard = bounds(request()).affordable([target("openai")])[0].micros
    found = bounds(request(service_tier=asked), price(modifiers=tiers)).affordable([openai])[0].micros

    assert found == factor * standard
