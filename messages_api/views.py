"""Views of the envelope API and the Anthropic API."""

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
from messages_api.gateway.admission import AdmissionControl, check_client_ip
from messages_api.gateway.count_tokens import count_tokens
from messages_api.gateway.request import InFlightRequest
from messages_api.gateway.stream import open_stream
from messages_api.intake import body
from messages_api.intake.bodies_in_flight import bodies
from messages_api.intake.client import ClientInfo
from messages_api.routing import model_catalog
from messages_api.self_service import key, models_page, usage_query


class IgnoreAcceptHeader(BaseContentNegotiation):
    """Never respond with 406. A renderer for streams would avoid it too, but label JSON errors as streams."""

    def select_parser(self, request: Any, parsers: Any) -> Any:
        return None

    def select_renderer(self, request: Any, renderers: Any, format_suffix: Any = None) -> Any:
        return renderers[0], renderers[0].media_type


class ApiFormatView(APIView):
    """A view of one API format: responses and errors have its form."""

    content_negotiation_class = IgnoreAcceptHeader
    api_format: ModuleType = envelope  # or apis.anthropic, set in urls.py
    is_recorded = False
    """Whether admission writes a usage record of each request, also of those from an IP address that is not allowed."""

    def initial(self, request: DRFRequest, *args: Any, **kwargs: Any) -> None:
        """Authenticate, and check the client's IP address before anything of the request is read."""
        super().initial(request, *args, **kwargs)
        if not self.is_recorded:
            client_ip = request._request.client_ip  # type: ignore[attr-defined]  # set by the middleware
            check_client_ip(request.auth, client_ip)  # type: ignore[arg-type]


class MessagesView(ApiFormatView):
    """Serve one request of the Messages API: a message, or a stream of events."""

    is_recorded = True
    http_method_names = ["post"]

    def post(self, http_request: DRFRequest) -> HttpResponseBase:
        client = ClientInfo.of(http_request._request, forwards_headers=not self.api_format.IS_STRICT)
        key: Any = http_request.auth
        admission_control = AdmissionControl(key=key, client=client, api_format=self.api_format.NAME)
        request_body = admission_control.receive(http_request._request, strict=self.api_format.IS_STRICT)
        request = InFlightRequest(admission_control)
        if request_body.request.get("stream"):
            stream = open_stream(request)
            return EventStreamResponse(stream, encoder=self.api_format.Encoder(), headers=request.headers)
        return as_json(self.api_format.success(request.complete()), headers=request.headers)


class CountTokensView(ApiFormatView):
    """Count the input tokens of a request. Sends it to no model and writes no usage record."""

    http_method_names = ["post"]

    def post(self, http_request: DRFRequest) -> HttpResponse:
        key: Any = http_request.auth
        client = ClientInfo.of(http_request._request, forwards_headers=True)
        with bodies.hold(body.expected_length(http_request._request.META), key_id=key.key_id):
            request_body = body.read(http_request._request, strict=False, is_count=True)
            count = count_tokens(request_body, key=key, client=client)
        response = as_json(wire.encode({"input_tokens": count.tokens}))
        if count.is_estimated:
            response["x-gateway-estimated"] = "true"
        return response


class ModelsView(ApiFormatView):
    """List the models that the key may use, in pages. Sends no request to an upstream."""

    http_method_names = ["get"]

    def get(self, http_request: DRFRequest) -> HttpResponse:
        models = model_catalog.models(key=http_request.auth)  # type: ignore[arg-type]
        return as_json(wire.encode(models_page.page(models, http_request._request.GET)))


class ModelView(ApiFormatView):
    """Describe one model that the key may use."""

    http_method_names = ["get"]

    def get(self, http_request: DRFRequest, model: str) -> HttpResponse:
        found = model_catalog.find(model, key=http_request.auth)  # type: ignore[arg-type]
        return as_json(wire.encode(models_page.one(found)))


class KeyView(ApiFormatView):
    """Describe the key of the request: access policy, budgets and current usage."""

    http_method_names = ["get"]

    def get(self, http_request: DRFRequest) -> HttpResponse:
        return as_json(wire.encode(success_envelope(key.describe_key(key=http_request.auth))))  # type: ignore[arg-type]


class UsageView(ApiFormatView):
    """Report the key's usage in time buckets."""

    http_method_names = ["get"]

    def get(self, http_request: DRFRequest) -> HttpResponse:
        query = usage_query.parse(http_request._request.GET)
        return as_json(wire.encode(success_envelope(key.usage(query, key=http_request.auth))))  # type: ignore[arg-type]


def hello(http_request: HttpRequest) -> HttpResponse:
    """Respond to the reachability check that some clients make before they send a key."""
    return HttpResponse()


def as_json(raw: bytes, *, headers: dict[str, str] | None = None) -> HttpResponse:
    return HttpResponse(raw, content_type="application/json", headers=headers)
