"""Canonical URLs of the explorer: from the fields of its form, and from the parameters of earlier versions."""

import re
from collections.abc import Iterator
from datetime import timedelta

from django.http import QueryDict
from django.utils import timezone

from keys.admin.usage_records import columns
from keys.explore import dimensions, intervals
from keys.explore.record_filters import PARAMETERS
from lib.admin.keyset_list import NEWER_VAR, OLDER_VAR
from lib.model_patterns import WILDCARD, is_prefix

FIELD = "set_"
"""Prefix of the fields of the form. A field that is left empty changes nothing: in the grammar, it stands for none."""
RANGE = ("range", "from", "to")
_MILLISECONDS = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)\s*(ms|s|min)?", re.ASCII)
_IN_MS = {"ms": 1, "s": 1000, "min": 60_000, None: 1}
_ONE_VALUE = {*PARAMETERS, "cols"} - {"http"}

_OLD_NAMES = {
    "api_key__public_id": "key",
    "status__exact": "outcome",
    "usage_source__exact": "usage_source",
    "streamed__exact": "streamed",
}
_OLD_RANGES = {"day": "24h", "week": "7d", "month": "30d"}
OLD_PARAMETERS = ("q", "time", *_OLD_NAMES)
ANY_TIME = timedelta(days=3650)
LONGEST_QUERY = 8_000
"""A longer one stays as it is: a redirect has a limited length."""


def canonical(parameters: QueryDict) -> str | None:
    """Return the query string that says the same in the grammar of the explorer; None if the URL does already."""
    is_form = any(name.startswith(FIELD) for name in parameters)
    is_old = any(name in parameters for name in OLD_PARAMETERS)
    has_pattern = any(is_prefix(text) for text in parameters.getlist("model"))
    if not (is_form or is_old or has_pattern):
        return None
    found = QueryDict(mutable=True)
    for name, texts in parameters.lists():
        if not name.startswith(FIELD) and name not in (*OLD_PARAMETERS, OLDER_VAR, NEWER_VAR):
            found.setlist(name, texts)
    for name, text in (*_of_old(parameters), *_of_form(parameters)):
        _add(found, name, text)
    if chosen := parameters.getlist(f"{FIELD}col"):
        found["cols"] = columns.text_of(chosen)
    _split_models(found)
    query = found.urlencode()
    return query if len(query) <= LONGEST_QUERY else None


def _add(found: QueryDict, name: str, text: str) -> None:
    if name in RANGE:
        for other in RANGE if name == "range" else ("range",):
            found.pop(other, None)
        found[name] = text
    elif name in _ONE_VALUE:
        found[name] = text
    elif text not in found.getlist(name):
        found.appendlist(name, text)


def _of_form(parameters: QueryDict) -> Iterator[tuple[str, str]]:
    for parameter, texts in parameters.lists():
        name = parameter.removeprefix(FIELD)
        if name == parameter or name == "col":
            continue
        for text in filter(None, (each.strip() for each in texts)):
            if name == "min_latency":
                yield name, _in_ms(text)
            elif name == "tag":
                yield _tag(text) or ("id", text)
            elif name == "http":
                yield from (("http", each) for each in re.split(r"[\s,]+", text)[:20] if each)
            else:
                yield name, text


def _of_old(parameters: QueryDict) -> Iterator[tuple[str, str]]:
    for old, name in _OLD_NAMES.items():
        yield from ((name, text.strip()) for text in parameters.getlist(old) if text.strip())
    if text := (parameters.get("q") or "").strip():
        yield _tag(text) or ("id", text)
    span = parameters.get("time") or ""
    if span in _OLD_RANGES:
        yield "range", _OLD_RANGES[span]
    elif span in ("hour", "all"):
        now = timezone.now().replace(second=0, microsecond=0)
        begin = now - (timedelta(hours=1) if span == "hour" else ANY_TIME)
        yield "from", intervals.text_of(begin)
        yield "to", intervals.text_of(now + timedelta(days=1))


def _tag(text: str) -> tuple[str, str] | None:
    """Return the filter of a tag, written as `name=value`."""
    name, separator, value = text.partition("=")
    parameter = f"{dimensions.TAG_PREFIX}{name.strip()}"
    return (parameter, value.strip()) if separator and dimensions.find(parameter) else None


def _in_ms(text: str) -> str:
    """Return milliseconds for `1500`, `1.5 s` or `2 min`; anything else as it is, which the parser leaves out."""
    match = _MILLISECONDS.fullmatch(text.lower())
    return str(round(float(match[1]) * _IN_MS[match[2]])) if match else text


def _split_models(found: QueryDict) -> None:
    """Turn a model with a wildcard into a prefix."""
    models = found.pop("model", [])
    names = [text for text in models if not is_prefix(text)]
    prefixes = [text.removesuffix(WILDCARD) for text in models if is_prefix(text)]
    if names:
        found.setlist("model", names)
    if prefixes:
        found["model_prefix"] = prefixes[-1]
