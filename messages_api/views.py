"""The views of both lanes: a request in, a Message or a stream of events out."""

from types import ModuleType
from typing import Any

import msgspec
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.request import Request as DRFRequest
from rest_framework.views import APIView

from messages_api import body
from messages_api.caller import Caller
from messages_api.gateway import Call
from messages_api.lanes.streaming import EventStreamResponse


class IgnoreAcceptHeader(BaseContentNegotiation):
    """`Accept` never causes a 406. A renderer for streams would cure that too, and label JSON errors as streams."""

    def select_parser(self, request: Any, parsers: Any) -> Any:
        return None

    def select_renderer(self, request: Any, renderers: Any, format_suffix: Any = None) -> Any:
        return renderers[0], renderers[0].media_type


class MessagesView(APIView):
    """One call on one lane."""

    content_negotiation_class = IgnoreAcceptHeader
    http_method_names = ["post"]
    lane: ModuleType | None = None  # messages_api.lanes.envelope or .anthropic, set in urls.py

    def post(self, http_request: DRFRequest) -> HttpResponseBase:
        assert self.lane is not None
        http: HttpRequest = http_request._request
        request = body.read(http, strict=self.lane.IS_STRICT)
        call = Call(
            request,
            key=http_request.auth,  # type: ignore[arg-type]  # what keys.authentication returns
            caller=Caller.of(http),
            lane=self.lane.NAME,
        )
        if request.request.get("stream"):
            return EventStreamResponse(call.stream(), encoder=self.lane.Encoder())
        return HttpResponse(msgspec.json.encode(self.lane.success(call.complete())), content_type="application/json")
