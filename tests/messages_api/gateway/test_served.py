"""Usage records state what was served, and cost what the provider bills for it."""

import json
from typing import Any

import pytest

from keys.models import UsageRecord
from messages_api.models import Route, RouteTarget
from tests.keys.pricing.test_price_cases import save
from tests.messages_api import served_cases
from tests.support.gateway import Gateway
from tests.upstream import anthropic_frame, body_response, failure, openai_frame, streamed
from tests.upstream.openai_dialect import DONE
from tests.upstream.steps import Pause

PATHS = ["/api/v1/messages", "/api/anthropic/v1/messages"]
HELLO: dict[str, Any] = {"max_tokens": 64, "messages": [{"role": "user", "content": "Hi"}]}
OUT_OF_DATE = ("a09", "a10", "a12", "d01", "d03")
"""Examples of another time than now."""
cases_of_now = [case for case in served_cases.cases() if not case["id"].startswith(OUT_OF_DATE)]


def reply(gateway: Gateway, case: dict[str, Any], *, stream: bool) -> None:
    """Queue the response of an example."""
    if not stream:
        gateway.upstream.queue(body_response(served_cases.plain(case)))
        return
    frame = anthropic_frame if case["dialect"] == "anthropic" else openai_frame
    ending = [] if case["dialect"] == "anthropic" else [DONE]
    gateway.upstream.queue(streamed([*(frame(each) for each in served_cases.streamed(case)), *ending]))


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("case", cases_of_now, ids=lambda case: case["id"])
def test_a_request_is_recorded_as_it_was_served_and_billed(
    gateway: Gateway, case: dict[str, Any], stream: bool
) -> None:
    gateway.configure_upstream(case["dialect"], profile_overrides={"region": case["region"]})
    priced = served_cases.price_cases()[case["id"]]
    for name in priced["prices"]:
        save(name)
    reply(gateway, case, stream=stream)
    body = HELLO | {"model": priced["record"]["upstream_model"], "stream": stream} | case["request"]

    assert gateway.post(PATHS[1], body).status == 200

    record = gateway.record()
    expected = served_cases.expected(case)
    found = {name: getattr(record, name) for name in expected}
    assert {name: value or None for name, value in found.items()} == {
        name: value or None for name, value in expected.items()
    }
    assert (record.cost_usd_picos, record.usage_object) == (priced["picos"], case["usage"])
    assert (record.status, record.usage_source) == ("completed", "reported")


def anthropic(usage: dict[str, Any], **fields: Any) -> dict[str, Any]:
    case = {"id": "a01-plain", "dialect": "anthropic", "response": fields, "usage": usage}
    return served_cases.plain(case)


USAGE = {"input_tokens": 412, "output_tokens": 20}


def facts(record: UsageRecord) -> tuple[str, ...]:
    return record.speed, record.service_tier, record.inference_geo, record.region


@pytest.mark.parametrize("path", PATHS)
def test_what_was_asked_for_counts_where_the_response_is_silent(gateway: Gateway, path: str) -> None:
    gateway.configure_upstream("anthropic", profile_overrides={"region": "eu"})
    gateway.upstream.queue(body_response(anthropic(USAGE)))
    asked = {"speed": "fast", "service_tier": "standard_only", "inference_geo": "us"}

    gateway.post(path, HELLO | {"model": "claude-opus-5-5"} | asked)

    assert facts(gateway.record()) == ("fast", "standard", "us", "eu")


def test_the_response_counts_before_what_was_asked_for(gateway: Gateway) -> None:
    gateway.configure_upstream("anthropic")
    served = {"speed": "standard", "service_tier": "priority", "inference_geo": "global"}
    gateway.upstream.queue(body_response(anthropic(USAGE | served)))
    asked = {"speed": "fast", "service_tier": "auto", "inference_geo": "us"}

    gateway.post(PATHS[0], HELLO | {"model": "claude-opus-5-5"} | asked)

    assert facts(gateway.record()) == ("standard", "priority", "global", "")


def test_what_an_upstream_is_not_asked_for_does_not_count(gateway: Gateway) -> None:
    """Chat Completions has none of these fields: they are dropped."""
    gateway.configure_upstream("openai")

    gateway.post(PATHS[1], HELLO | {"model": "gpt", "speed": "fast", "service_tier": "flex", "inference_geo": "us"})

    assert facts(gateway.record()) == ("", "", "", "")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("asked", "served", "recorded"),
    [("fast", "priority", "priority"), ("priority", "default", "default"), ("flex", None, "flex"), ("auto", None, "")],
)
def test_the_service_tier_of_openai_is_sent_and_that_of_the_response_counts(
    gateway: Gateway, path: str, asked: str, served: str | None, recorded: str
) -> None:
    gateway.configure_upstream("openai", profile_preset="openai")
    case = {"id": "o02-cache-write", "dialect": "openai", "usage": {"prompt_tokens": 5, "completion_tokens": 2}}
    gateway.upstream.queue(body_response(served_cases.plain(case | {"response": {"service_tier": served}})))

    assert gateway.post(path, HELLO | {"model": "gpt-6-sol", "service_tier": asked}).status == 200

    assert gateway.upstream.requests[0].body["service_tier"] == asked
    assert gateway.record().service_tier == recorded


def test_a_value_that_the_price_does_not_know_makes_a_request_unpriced(gateway: Gateway) -> None:
    gateway.configure_upstream("anthropic")
    save("claude-opus-5-5")
    gateway.upstream.queue(body_response(anthropic(USAGE | {"speed": "ultra"})))

    gateway.post(PATHS[0], HELLO | {"model": "claude-opus-5-5"})

    record = gateway.record()
    assert (record.speed, record.cost_usd_picos, record.unpriced_reason) == ("ultra", None, "unknown_speed")


def test_a_redeemed_credit_makes_the_usage_an_estimate(gateway: Gateway) -> None:
    gateway.configure_upstream("anthropic")
    gateway.upstream.queue(body_response(anthropic(USAGE | {"fallback_credit": {"status": {"type": "redeemed"}}})))

    gateway.post(PATHS[1], HELLO | {"model": "claude-opus-5-5"})

    record = gateway.record()
    assert (record.usage_source, record.input_tokens, record.output_tokens) == ("estimated", 412, 20)


@pytest.mark.parametrize("path", PATHS)
def test_a_response_with_iterations_reaches_the_client_as_it_is(gateway: Gateway, path: str) -> None:
    case = next(case for case in served_cases.cases() if case["id"] == "a29-compaction")
    gateway.configure_upstream("anthropic")
    reply(gateway, case, stream=False)

    received = gateway.post(path, HELLO | {"model": "claude-opus-5-5"}).json()

    if path == PATHS[1]:
        assert received == served_cases.plain(case)
    else:
        assert "23000" in json.dumps(received) and "203000" not in json.dumps(received)
    assert gateway.record().input_tokens == 203_000


UNSTATED = {"cache_creation_input_tokens": 4000}
FIVE_MINUTES = {"ephemeral_5m_input_tokens": 4000, "ephemeral_1h_input_tokens": 0}


@pytest.mark.parametrize(
    ("usage", "ttl", "written"),
    [
        pytest.param(UNSTATED, "1h", (0, 4000), id="asked for"),
        pytest.param(UNSTATED, "5m", (4000, 0), id="the default"),
        pytest.param(UNSTATED | {"cache_creation": FIVE_MINUTES}, "1h", (4000, 0), id="stated"),
    ],
)
def test_cache_writes_without_a_lifetime_have_that_of_the_request(
    gateway: Gateway, usage: dict[str, Any], ttl: str, written: tuple[int, int]
) -> None:
    gateway.configure_upstream("anthropic")
    gateway.upstream.queue(body_response(anthropic(USAGE | usage)))

    gateway.post(PATHS[0], HELLO | {"model": "m", "cache_control": {"type": "ephemeral", "ttl": ttl}})

    record = gateway.record()
    assert (record.cache_write_5m_tokens, record.cache_write_1h_tokens or 0) == written


def test_an_invalid_response_with_usage_is_billed_as_it_states(gateway: Gateway) -> None:
    gateway.configure_upstream("anthropic")
    gateway.upstream.queue(body_response(anthropic(USAGE | {"speed": "fast"}) | {"content": "no list"}))

    assert gateway.post(PATHS[1], HELLO | {"model": "claude-opus-5-5"}).status >= 500

    record = gateway.record()
    assert (record.status, record.speed, record.input_tokens) == ("failed", "fast", 412)
    assert record.usage_object == USAGE | {"speed": "fast"}


def test_a_request_that_no_upstream_served_states_nothing(gateway: Gateway) -> None:
    gateway.configure_upstream("anthropic", profile_overrides={"region": "eu"})
    gateway.upstream.queue(failure(400))

    gateway.post(PATHS[1], HELLO | {"model": "claude-opus-5-5", "speed": "fast"})

    record = gateway.record()
    assert (facts(record), record.served_model, record.usage_source) == (("", "", "", ""), "", "none")


def test_a_fallback_is_recorded_with_its_own_region(gateway: Gateway) -> None:
    gateway.configure_upstream("anthropic", profile_overrides={"region": "eu"})
    base_url = gateway.upstream_row.base_url
    other = gateway.add_upstream("other", base_url, "anthropic", profile_overrides={"region": "us"})
    RouteTarget.objects.create(route=Route.objects.get(), upstream=other, priority=1)
    gateway.upstream.queue(failure(503), times=3)
    gateway.upstream.queue(body_response(anthropic(USAGE)))

    assert gateway.post(PATHS[1], HELLO | {"model": "claude-opus-5-5"}).status == 200

    assert (gateway.record().upstream, gateway.record().region) == ("other", "us")


# ---- the time that the gateway adds


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("dialect", ["anthropic", "openai"])
def test_added_time_is_the_gateways_own(gateway: Gateway, dialect: str, stream: bool) -> None:
    gateway.configure_upstream(dialect)
    name = "a01-plain" if dialect == "anthropic" else "o01-cached"
    case = next(each for each in served_cases.cases() if each["id"] == name)
    frame = anthropic_frame if dialect == "anthropic" else openai_frame
    if stream:
        frames = [frame(each) for each in served_cases.streamed(case)]
        steps = streamed([*frames, DONE] if dialect == "openai" else frames)
    else:
        steps = body_response(served_cases.plain(case))
    gateway.upstream.queue([Pause(1.0), *steps])

    gateway.post(PATHS[1], HELLO | {"model": "m", "stream": stream})

    record = gateway.record()
    assert record.duration_ms is not None and record.duration_ms >= 1000
    assert record.added_us is not None and 0 < record.added_us < record.duration_ms * 1000 - 900_000


def test_retries_are_not_the_gateways_own_time(gateway: Gateway) -> None:
    gateway.configure_upstream("anthropic")
    gateway.upstream.queue(failure(503, headers=[("retry-after", "1")]))
    gateway.upstream.queue(body_response(anthropic(USAGE)))

    assert gateway.post(PATHS[1], HELLO | {"model": "m"}).status == 200

    record = gateway.record()
    assert len(record.attempts) == 2 and record.duration_ms is not None and record.added_us is not None
    assert record.added_us < record.duration_ms * 1000 - 900_000


def test_a_request_that_is_not_sent_has_no_added_time(gateway: Gateway) -> None:
    gateway.upstream_row.targets.all().delete()

    gateway.post(PATHS[1], HELLO | {"model": "m"})

    assert gateway.record().added_us is None
