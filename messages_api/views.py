"""The views of both lanes: a request in, a Message or a stream of events out."""

from types import ModuleType
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.request import Request as DRFRequest
from rest_framework.views import APIView

from messages_api.apis import envelope
from messages_api.apis.streaming import EventStreamResponse
from messages_api.apis.success_envelope import success_envelope
from messages_api.backend.protocol import wire
from messages_api.gateway import admission
from messages_api.gateway.count_tokens import count_tokens
from messages_api.gateway.request import InFlightRequest
from messages_api.intake import body
from messages_api.intake.client import ClientInfo
from messages_api.self_service import key, models_page, usage_query


class IgnoreAcceptHeader(BaseContentNegotiation):
    """`Accept` never causes a 406. A renderer for streams would cure that too, and label JSON errors as streams."""

    def select_parser(self, request: Any, parsers: Any) -> Any:
        return None

    def select_renderer(self, request: Any, renderers: Any, format_suffix: Any = None) -> Any:
        return renderers[0], renderers[0].media_type


class ApiFormatView(APIView):
    """A view of one lane: it answers, and fails, in that lane's dialect."""

    content_negotiation_class = IgnoreAcceptHeader
    api_format: ModuleType = envelope  # or messages_api.lanes.anthropic, set in urls.py


class MessagesView(ApiFormatView):
    """One call on one lane: a request in, a Message or a stream of events out."""

    http_method_names = ["post"]

    def post(self, http_request: DRFRequest) -> HttpResponseBase:
        request = body.read(http_request._request, strict=self.api_format.IS_STRICT)
        caller = ClientInfo.of(http_request._request, forwards_headers=not self.api_format.IS_STRICT)
        call = InFlightRequest(request, key=http_request.auth, caller=caller, api_format=self.api_format.NAME)  # type: ignore[arg-type]
        if request.request.get("stream"):
            return EventStreamResponse(call.stream(), encoder=self.api_format.Encoder(), headers=call.headers)
        return as_json(self.api_format.success(call.complete()), headers=call.headers)


class CountTokensView(ApiFormatView):
    """How many input tokens a request has. Makes no call of a model and no usage record."""

    http_method_names = ["post"]

    def post(self, http_request: DRFRequest) -> HttpResponse:
        request = body.read(http_request._request, strict=False, is_count=True)
        caller = ClientInfo.of(http_request._request, forwards_headers=True)
        count = count_tokens(request, key=http_request.auth, client=caller)  # type: ignore[arg-type]
        return as_json(wire.encode({"input_tokens": count}))


class ModelsView(ApiFormatView):
    """The models that this key may use, page by page. Asks no upstream."""

    http_method_names = ["get"]

    def get(self, http_request: DRFRequest) -> HttpResponse:
        names = admission.models(key=http_request.auth)  # type: ignore[arg-type]
        return as_json(wire.encode(models_page.page(names, http_request._request.GET)))


class ModelView(ApiFormatView):
    """One model that this key may use, listed or by a pattern."""

    http_method_names = ["get"]

    def get(self, http_request: DRFRequest, model: str) -> HttpResponse:
        is_known = admission.knows(model, key=http_request.auth)  # type: ignore[arg-type]
        return as_json(wire.encode(models_page.one(model, is_known=is_known)))


class KeyView(ApiFormatView):
    """The key itself: its rules, its budgets, what it used."""

    http_method_names = ["get"]

    def get(self, http_request: DRFRequest) -> HttpResponse:
        return as_json(wire.encode(success_envelope(key.describe_key(key=http_request.auth))))  # type: ignore[arg-type]


class UsageView(ApiFormatView):
    """What the key used, in buckets of time."""

    http_method_names = ["get"]

    def get(self, http_request: DRFRequest) -> HttpResponse:
        query = usage_query.parse(http_request._request.GET)
        return as_json(wire.encode(success_envelope(key.usage(query, key=http_request.auth))))  # type: ignore[arg-type]


def hello(http_request: HttpRequest) -> HttpResponse:
    """What some clients look for before they send a key: somebody is there."""
    return HttpResponse()


def as_json(raw: bytes, *, headers: dict[str, str] | None = None) -> HttpResponse:
    return HttpResponse(raw, content_type="application/json", headers=headers)
