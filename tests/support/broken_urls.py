"""The gateway's URL patterns, and one whose view fails."""

from django.http import HttpRequest, HttpResponse
from django.urls import path

from project.urls import handler400, handler404, handler500, urlpatterns

__all__ = ["handler400", "handler404", "handler500", "urlpatterns"]


def fail(http_request: HttpRequest) -> HttpResponse:
    raise RuntimeError("canary of a failure")


urlpatterns = [path("broken/", fail), *urlpatterns]
