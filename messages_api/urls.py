from django.urls import re_path

from messages_api.lanes import anthropic, envelope
from messages_api.views import MessagesView

# With and without a slash at the end: a redirect would turn a caller's POST into a GET.
urlpatterns = [
    re_path(r"^v1/messages/?$", MessagesView.as_view(lane=envelope), name="messages"),
    re_path(r"^anthropic/v1/messages/?$", MessagesView.as_view(lane=anthropic), name="anthropic-messages"),
]
