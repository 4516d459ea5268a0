"""URLs of the project: the API, the admin and the health checks."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from project.server import health

urlpatterns = [
    path("api/", include("messages_api.urls")),
    path("admin/", admin.site.urls),
    path("livez", health.livez, name="livez"),
    path("readyz", health.readyz, name="readyz"),
    path("", RedirectView.as_view(pattern_name="admin:index")),
]

handler400 = "messages_api.error_responses.bad_request"
handler404 = "messages_api.error_responses.not_found"
handler500 = "messages_api.error_responses.server_error"
