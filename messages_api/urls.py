"""URLs below `/api/`."""

from django.urls import re_path

from messages_api.apis import anthropic, envelope
from messages_api.openapi.views import DocsView, SchemaView
from messages_api.views import CountTokensView, KeyView, MessagesView, ModelsView, ModelView, UsageView, hello

# With and without a trailing slash: a redirect would turn a client's POST into a GET.
urlpatterns = [
    re_path(r"^v1/messages/?$", MessagesView.as_view(api_format=envelope), name="messages"),
    re_path(r"^v1/key/?$", KeyView.as_view(api_format=envelope), name="key"),
    re_path(r"^v1/usage/?$", UsageView.as_view(api_format=envelope), name="usage"),
    re_path(r"^anthropic/v1/messages/?$", MessagesView.as_view(api_format=anthropic), name="anthropic-messages"),
    re_path(
        r"^anthropic/v1/messages/count_tokens/?$", CountTokensView.as_view(api_format=anthropic), name="count-tokens"
    ),
    re_path(r"^anthropic/v1/models/?$", ModelsView.as_view(api_format=anthropic), name="models"),
    re_path(r"^anthropic/v1/models/(?P<model>.+?)/?$", ModelView.as_view(api_format=anthropic), name="model"),
    re_path(r"^schema/?$", SchemaView.as_view(), name="schema"),
    re_path(r"^docs/?$", DocsView.as_view(), name="docs"),
    re_path(r"^anthropic/?$", hello, name="anthropic"),  # Claude Code sends HEAD to its base URL
    # Also below the Anthropic API, where clients with that base URL request it.
    re_path(r"^(?:anthropic/api/)?hello$", hello, name="hello"),
]
