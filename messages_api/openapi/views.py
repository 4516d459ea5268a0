"""Views of the OpenAPI document, the API reference and its console. None requires an API key."""

from typing import Any

from django.conf import settings
from django.http import HttpResponse
from django.shortcuts import render
from drf_spectacular.views import SpectacularSwaggerSplitView
from rest_framework.request import Request as DRFRequest
from rest_framework.response import Response
from rest_framework.views import APIView

from keys.display.snippets import EXAMPLE_MODEL, PLACEHOLDER, snippets
from messages_api.openapi.description import document
from messages_api.openapi.reference import reference
from messages_api.views import IgnoreAcceptHeader, as_json


class SchemaView(APIView):
    """The OpenAPI document as JSON."""

    authentication_classes = []
    content_negotiation_class = IgnoreAcceptHeader
    http_method_names = ["get", "head"]
    schema = None

    def get(self, http_request: DRFRequest) -> HttpResponse:
        return as_json(document())


class DocsView(APIView):
    """The API reference: quickstart, endpoints, errors and limits. The schemas are folded."""

    authentication_classes = []
    content_negotiation_class = IgnoreAcceptHeader
    http_method_names = ["get", "head"]
    schema = None

    def get(self, http_request: DRFRequest) -> HttpResponse:
        request = http_request._request
        origin = f"{request.scheme}://{request.get_host()}"
        context = {
            "title": "API reference",
            "site_title": "messages-gateway",
            "site_header": "messages-gateway",
            "origin": origin,
            "reference": reference(),
            "snippets": snippets(PLACEHOLDER, origin=origin, model=EXAMPLE_MODEL),
        }
        return render(request, "messages_api/docs.html", context)


class ConsoleView(SpectacularSwaggerSplitView):
    """Swagger UI, to send requests. Its script has its own URL (`?script`), so that the page has no inline script."""

    authentication_classes = []
    content_negotiation_class = IgnoreAcceptHeader
    http_method_names = ["get", "head"]
    schema = None
    template_name = "messages_api/console.html"
    template_name_js = "messages_api/console.js"

    def get(self, request: DRFRequest, *args: Any, **kwargs: Any) -> Response:
        response: Response = super().get(request, *args, **kwargs)
        response.headers["Content-Security-Policy"] = settings.DOCS_CONTENT_SECURITY_POLICY
        return response
