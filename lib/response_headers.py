"""Headers of Django responses, set without Django's conversions where none is needed."""

from collections.abc import Mapping

from django.http import HttpResponseBase


def update(response: HttpResponseBase, headers: Mapping[str, str]) -> None:
    """Set headers. Raise BadHeaderError for a line break in a value, as Django does."""
    store = response.headers._store
    for name, value in headers.items():
        if value.isascii() and value.isprintable():
            store[name.lower()] = (name, value)
        else:
            response.headers[name] = value


def set_defaults(response: HttpResponseBase, headers: Mapping[str, tuple[str, str]]) -> None:
    """Set the headers that a response does not have: name and value of valid headers by their name in lower case."""
    store = response.headers._store
    for key, header in headers.items():
        store.setdefault(key, header)
