"""The views of both lanes: a request in, a Message or a stream of events out."""

from types import ModuleType
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.request import Request as DRFRequest
from rest_framework.views import APIView

from messages_api.apis import envelope
from messages_api.apis.streaming import EventStreamResponse
from messages_api.apis.success_envelope import four_keys
from messages_api.backend.protocol import wire
from messages_api.gateway import admission as entry
from messages_api.gateway import request as gateway
from messages_api.gateway.request import Call
from messages_api.intake import body
from messages_api.intake.client import Caller
from messages_api.self_service import key as self_service
from messages_api.self_service import models_page as model_list
from messages_api.self_service import usage_query


class IgnoreAcceptHeader(BaseContentNegotiation):
    """`Accept` never causes a 406. A renderer for streams would cure that too, and label JSON errors as streams."""

    def select_parser(self, request: Any, parsers: Any) -> Any:
        return None

    def select_renderer(self, request: Any, renderers: Any, format_suffix: Any = None) -> Any:
        return renderers[0], renderers[0].media_type


class LaneView(APIView):
    """A view of one lane: it answers, and fails, in that lane's dialect."""

    content_negotiation_class = IgnoreAcceptHeader
    lane: ModuleType = envelope  # or messages_api.lanes.anthropic, set in urls.py


class MessagesView(LaneView):
    """One call on one lane: a request in, a Message or a stream of events out."""

    http_method_names = ["post"]

    def post(self, http_request: DRFRequest) -> HttpResponseBase:
        request = body.read(http_request._request, strict=self.lane.IS_STRICT)
        caller = Caller.of(http_request._request, forwards_headers=not self.lane.IS_STRICT)
        call = Call(request, key=http_request.auth, caller=caller, lane=self.lane.NAME)  # type: ignore[arg-type]
        if request.request.get("stream"):
            return EventStreamResponse(call.stream(), encoder=self.lane.Encoder(), headers=call.headers)
        return as_json(self.lane.success(call.complete()), headers=call.headers)


class CountTokensView(LaneView):
    """How many input tokens a request has. Makes no call of a model and no usage record."""

    http_method_names = ["post"]

    def post(self, http_request: DRFRequest) -> HttpResponse:
        request = body.read(http_request._request, strict=False, is_count=True)
        caller = Caller.of(http_request._request, forwards_headers=True)
        count = gateway.count_tokens(request, key=http_request.auth, caller=caller)  # type: ignore[arg-type]
        return as_json(wire.encode({"input_tokens": count}))


class ModelsView(LaneView):
    """The models that this key may use, page by page. Asks no upstream."""

    http_method_names = ["get"]

    def get(self, http_request: DRFRequest) -> HttpResponse:
        names = entry.models(key=http_request.auth)  # type: ignore[arg-type]
        return as_json(wire.encode(model_list.page(names, http_request._request.GET)))


class ModelView(LaneView):
    """One model that this key may use, listed or by a pattern."""

    http_method_names = ["get"]

    def get(self, http_request: DRFRequest, model: str) -> HttpResponse:
        is_known = entry.knows(model, key=http_request.auth)  # type: ignore[arg-type]
        return as_json(wire.encode(model_list.one(model, is_known=is_known)))


class KeyView(LaneView):
    """The key itself: its rules, its budgets, what it used."""

    http_method_names = ["get"]

    def get(self, http_request: DRFRequest) -> HttpResponse:
        return as_json(wire.encode(four_keys(self_service.describe_key(key=http_request.auth))))  # type: ignore[arg-type]


class UsageView(LaneView):
    """What the key used, in buckets of time."""

    http_method_names = ["get"]

    def get(self, http_request: DRFRequest) -> HttpResponse:
        query = usage_query.parse(http_request._request.GET)
        return as_json(wire.encode(four_keys(self_service.usage(query, key=http_request.auth))))  # type: ignore[arg-type]


def hello(http_request: HttpRequest) -> HttpResponse:
    """What some clients look for before they send a key: somebody is there."""
    return HttpResponse()


def as_json(raw: bytes, *, headers: dict[str, str] | None = None) -> HttpResponse:
    return HttpResponse(raw, content_type="application/json", headers=headers)
