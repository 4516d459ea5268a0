"""Views of the OpenAPI document and its documentation page. Neither requires an API key."""

from typing import Any

from django.conf import settings
from django.http import HttpResponse
from drf_spectacular.views import SpectacularSwaggerSplitView
from rest_framework.request import Request as DRFRequest
from rest_framework.response import Response
from rest_framework.views import APIView

from messages_api.openapi.description import document
from messages_api.views import IgnoreAcceptHeader, as_json


class SchemaView(APIView):
    """The OpenAPI document as JSON."""

    authentication_classes = []
    content_negotiation_class = IgnoreAcceptHeader
    http_method_names = ["get", "head"]
    schema = None

    def get(self, http_request: DRFRequest) -> HttpResponse:
        return as_json(document())


class DocsView(SpectacularSwaggerSplitView):
    """Swagger UI. Its script has its own URL (`?script`), so that the page has no inline script."""

    authentication_classes = []
    content_negotiation_class = IgnoreAcceptHeader
    http_method_names = ["get", "head"]
    schema = None
    template_name = "messages_api/docs.html"
    template_name_js = "messages_api/docs.js"

    def get(self, request: DRFRequest, *args: Any, **kwargs: Any) -> Response:
        response: Response = super().get(request, *args, **kwargs)
        response.headers["Content-Security-Policy"] = settings.DOCS_CONTENT_SECURITY_POLICY
        return response
