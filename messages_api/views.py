"""Views of the envelope API and the Anthropic API."""

from types import ModuleType
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from rest_framework.exceptions import MethodNotAllowed
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.views import APIView

from lib import response_headers
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

    api_format: ModuleType = envelope  # or apis.anthropic, set in urls.py
    is_recorded = False
    """Whether admission writes a usage record of each request, also of those from an IP address that is not allowed."""

    key: Any
    """The snapshot of the API key, once the request is authenticated."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Authenticate, check the client's IP address before anything of the request is read, and respond.

        Without what no view of the API uses: DRF's wrapper of requests, negotiation, permissions, throttles, versions.
        """
        self.request = request  # type: ignore[assignment]
        try:
            self._authenticate(request)
            method = str(request.method).lower()
            handler = getattr(self, method, None) if method in self.http_method_names else None
            if handler is None:
                raise MethodNotAllowed(method)
            response: HttpResponseBase = handler(request, *args, **kwargs)
        except Exception as error:
            response = self.handle_exception(error)
        response.headers["Allow"] = ", ".join(self.allowed_methods)
        return response

    def _authenticate(self, http_request: HttpRequest) -> None:
        (authenticator,) = self.get_authenticators()
        _, self.key = authenticator.authenticate(http_request)  # type: ignore[misc,arg-type]  # takes both requests
        if not self.is_recorded:
            check_client_ip(self.key, http_request.client_ip)  # type: ignore[attr-defined]  # set by the middleware


class MessagesView(ApiFormatView):
    """Serve one request of the Messages API: a message, or a stream of events."""

    is_recorded = True
    http_method_names = ["post"]

    def post(self, http_request: HttpRequest) -> HttpResponseBase:
        client = ClientInfo.of(http_request, forwards_headers=not self.api_format.IS_STRICT)
        admission_control = AdmissionControl(key=self.key, client=client, api_format=self.api_format.NAME)
        request_body = admission_control.receive(http_request, strict=self.api_format.IS_STRICT)
        request = InFlightRequest(admission_control)
        if request_body.request.get("stream"):
            stream = open_stream(request)
            return EventStreamResponse(stream, encoder=self.api_format.Encoder(), headers=request.headers)
        return as_json(self.api_format.success(request.complete()), headers=request.headers)


class CountTokensView(ApiFormatView):
    """Count the input tokens of a request. Sends it to no model and writes no usage record."""

    http_method_names = ["post"]

    def post(self, http_request: HttpRequest) -> HttpResponse:
        client = ClientInfo.of(http_request, forwards_headers=True)
        with bodies.hold(body.expected_length(http_request.META), key_id=self.key.key_id):
            request_body = body.read(http_request, strict=False, is_count=True)
            count = count_tokens(request_body, key=self.key, client=client)
        response = as_json(wire.encode({"input_tokens": count.tokens}))
        if count.is_estimated:
            response["x-gateway-estimated"] = "true"
        return response


class ModelsView(ApiFormatView):
    """List the models that the key may use, in pages. Sends no request to an upstream."""

    http_method_names = ["get"]

    def get(self, http_request: HttpRequest) -> HttpResponse:
        models = model_catalog.models(key=self.key)
        return as_json(wire.encode(models_page.page(models, http_request.GET)))


class ModelView(ApiFormatView):
    """Describe one model that the key may use."""

    http_method_names = ["get"]

    def get(self, http_request: HttpRequest, model: str) -> HttpResponse:
        found = model_catalog.find(model, key=self.key)
        return as_json(wire.encode(models_page.one(found)))


class KeyView(ApiFormatView):
    """Describe the key of the request: access policy, budgets and current usage."""

    http_method_names = ["get"]

    def get(self, http_request: HttpRequest) -> HttpResponse:
        return as_json(wire.encode(success_envelope(key.describe_key(key=self.key))))


class UsageView(ApiFormatView):
    """Report the key's usage in time buckets."""

    http_method_names = ["get"]

    def get(self, http_request: HttpRequest) -> HttpResponse:
        query = usage_query.parse(http_request.GET)
        return as_json(wire.encode(success_envelope(key.usage(query, key=self.key))))


def hello(http_request: HttpRequest) -> HttpResponse:
    """Respond to the reachability check that some clients make before they send a key."""
    return HttpResponse()


def as_json(raw: bytes, *, headers: dict[str, str] | None = None) -> HttpResponse:
    response = HttpResponse(raw, content_type="application/json")
    response_headers.update(response, headers or {})
    return response
