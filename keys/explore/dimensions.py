"""Dimensions of usage: what questions group and filter by, in hourly rollups and in usage records."""

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib.auth import get_user_model
from django.db.models import CharField, F, Q, Value
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Coalesce
from django.db.models.lookups import In

from keys.domain import raw_key
from keys.models import APIKey, Team, UsageRecord
from keys.models.usage import NO_ID, ROLLUP_DIMENSIONS, UNKNOWN_MODEL
from lib.printable import printable

LARGEST_ID = 2**63 - 1
LONGEST_VALUE = 256
TAG_PREFIX = "tag."
_TAG_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,31}")  # as messages_api.intake.client accepts them
API_FORMATS = {"envelope": "Envelope API", "anthropic": "Anthropic API", "openai": "OpenAI API"}


Scope = frozenset[int] | None
"""The teams that a user may view; None: all."""


def _same(texts: Sequence[str], teams: Scope) -> dict[str, str]:
    return {text: printable(text) for text in texts}


def _teams(texts: Sequence[str], teams: Scope) -> dict[str, str]:
    visible = [each for each in _ids(texts) if teams is None or each in teams]
    names = dict(Team.objects.filter(pk__in=visible).values_list("pk", "name"))
    return {text: names.get(int(text)) or f"Team {text}" for text in texts}


def _owners(texts: Sequence[str], teams: Scope) -> dict[str, str]:
    # Keys of teams have no owner that is a user.
    ids = _ids(texts) if teams is None else []
    users = {user.pk: str(user) for user in get_user_model().objects.filter(pk__in=ids)}
    return {text: users.get(int(text)) or f"User {text}" for text in texts}


def _ids(texts: Iterable[str]) -> list[int]:
    return [int(text) for text in texts]


def _keys(texts: Sequence[str], teams: Scope) -> dict[str, str]:
    """Return the names of keys. Those that share a name have the hint of their newest secret added."""
    is_visible = Q() if teams is None else Q(team__in=teams)
    rows = APIKey.objects.filter(is_visible, public_id__in=texts).order_by("secrets__created_at", "secrets__pk")
    found = {
        public_id: (name, raw_key.shown_hint(hint) if hint else public_id)
        for public_id, name, hint in rows.values_list("public_id", "name", "secrets__hint")
    }
    names = [name for name, _ in found.values()]
    return {
        text: text if text not in found else name if names.count(name) == 1 else f"{name} ({hint})"
        for text in texts
        for name, hint in [found.get(text, ("", ""))]
    }


def _outcomes(texts: Sequence[str], teams: Scope) -> dict[str, str]:
    return {text: str(dict(UsageRecord.Status.choices).get(text, text)) for text in texts}


def _sources(texts: Sequence[str], teams: Scope) -> dict[str, str]:
    return {text: str(dict(UsageRecord.UsageSource.choices).get(text, text)) for text in texts}


def _api_formats(texts: Sequence[str], teams: Scope) -> dict[str, str]:
    return {text: API_FORMATS.get(text, text) for text in texts}


@dataclass(frozen=True, kw_only=True, slots=True)
class UsageDimension:
    """A property of requests. Its values are texts, as in URLs; "" is none, and "0" for teams and owners."""

    name: str
    """As in URLs."""
    label: str
    of_records: Any
    """Expression over usage records."""
    of_hours: Any = None
    """Expression over hourly rollups. None: they do not have it."""
    none: str = "None"
    """Label of the value for none."""
    labels_of: Callable[[Sequence[str], Scope], dict[str, str]] = _same
    choices: tuple[str, ...] = ()
    """The only possible values, where they are few."""
    is_id: bool = False
    """Whether its values are IDs of rows: integers, 0 for none."""

    def expression(self, model: type[Any]) -> Any:
        """Return the expression that groups rows of a table by it."""
        return self.of_records if model is UsageRecord else self.of_hours

    def is_possible(self, text: str) -> bool:
        """Return whether the text of a URL can be a value."""
        if len(text) > LONGEST_VALUE or not _is_storable(text):
            return False
        if self.is_id:
            return text.isascii() and text.isdigit() and int(text) <= LARGEST_ID
        return not self.choices or text in self.choices

    def condition(self, texts: Collection[str], model: type[Any], prefix: str = "") -> Q:
        """Return the condition that rows of a table have one of the values.

        `prefix` is the path from other rows to those of the table of rollups.
        """
        by_name = _by_tag if self.name.startswith(TAG_PREFIX) else _plain
        return _CONDITIONS.get(self.name, by_name)(self, list(texts), model, prefix)

    def labels(self, texts: Collection[str], teams: Scope) -> dict[str, str]:
        """Return the label of each value, without names of what the scope does not include. At most one query."""
        none = "0" if self.is_id else ""
        named = self.labels_of([text for text in texts if text != none], teams)
        return {text: self.none if text == none else named[text] for text in texts}

    def texts(self, stored: Collection[Any]) -> dict[Any, str]:
        """Return the values in URLs of those that `expression` yields. At most one query."""
        if self.name == "key":
            return dict(APIKey.objects.filter(pk__in=stored).values_list("pk", "public_id"))
        return {value: "" if value is None else str(value) for value in stored}


def _is_storable(text: str) -> bool:
    """Return whether both databases accept the text: no NUL, no half of a surrogate pair."""
    return "\0" not in text and not any("\ud800" <= letter <= "\udfff" for letter in text)


def _plain(dimension: UsageDimension, texts: list[str], model: type[Any], prefix: str) -> Q:
    return _one_of(f"{prefix}{dimension.expression(model).name}", texts)


def _by_tag(dimension: UsageDimension, texts: list[str], model: type[Any], prefix: str) -> Q:
    return Q(In(dimension.of_records, texts))


def _one_of(name: str, values: list[Any]) -> Q:
    # SQLite matches an equality with a parameter to an index, but no list of one.
    return Q(**{name: values[0]}) if len(values) == 1 else Q(**{f"{name}__in": values})


def _by_id(dimension: UsageDimension, texts: list[str], model: type[Any], prefix: str) -> Q:
    ids = _ids(texts)
    name = f"{prefix}{dimension.name}_id"
    found = _one_of(name, ids)
    return found | Q(**{name: None}) if model is UsageRecord and NO_ID in ids else found


def _by_key(dimension: UsageDimension, texts: list[str], model: type[Any], prefix: str) -> Q:
    # A lookup of the primary keys first: the query then reads the index of key and time instead of a join.
    ids = list(APIKey.objects.filter(public_id__in=texts).values_list("pk", flat=True))
    return _one_of(f"{prefix}api_key_id", ids or [NO_ID])


def _by_model(dimension: UsageDimension, texts: list[str], model: type[Any], prefix: str) -> Q:
    if model is not UsageRecord:
        return _one_of(f"{prefix}{dimension.name}", texts)
    named = [text for text in texts if text != UNKNOWN_MODEL]
    found = Q(_one_of(dimension.name, named), is_model_known=True) if named else Q(pk__in=[])
    return found | Q(is_model_known=False) | Q(**{dimension.name: ""}) if UNKNOWN_MODEL in texts else found


_CONDITIONS: dict[str, Callable[[UsageDimension, list[str], type[Any], str], Q]] = {
    "team": _by_id,
    "owner": _by_id,
    "key": _by_key,
    "model": _by_model,
    "upstream_model": _by_model,
}


def _of_both(name: str, label: str, column: str, **options: Any) -> UsageDimension:
    of_records = ROLLUP_DIMENSIONS[column]
    return UsageDimension(name=name, label=label, of_records=of_records, of_hours=F(column), **options)


DIMENSIONS: dict[str, UsageDimension] = {
    dimension.name: dimension
    for dimension in (
        _of_both("team", "Team", "team_id", none="No team", labels_of=_teams, is_id=True),
        _of_both("owner", "Owner", "owner_id", none="No owner", labels_of=_owners, is_id=True),
        _of_both("key", "Key", "api_key_id", labels_of=_keys),
        _of_both("model", "Model", "model", none="Unknown models"),
        _of_both("upstream", "Upstream", "upstream", none="No upstream"),
        _of_both("upstream_model", "Upstream model", "upstream_model", none="No or unknown upstream model"),
        _of_both("api_format", "API format", "api_format", labels_of=_api_formats),
        _of_both("outcome", "Outcome", "status", labels_of=_outcomes, choices=tuple(UsageRecord.Status.values)),
        _of_both("error_type", "Error type", "error_type", none="No error"),
        _of_both("usage_source", "Usage source", "usage_source", none="Not counted", labels_of=_sources),
        UsageDimension(name="session", label="Session", of_records=F("session_id"), none="No session"),
        UsageDimension(name="agent", label="Agent", of_records=F("agent_id"), none="No agent"),
    )
}
"""All dimensions but tags, of which each name is one: `find`."""


def find(name: str) -> UsageDimension | None:
    """Return a dimension by its name in URLs; None if there is none. `tag.project` is the tag named `project`."""
    if name in DIMENSIONS:
        return DIMENSIONS[name]
    tag = name.removeprefix(TAG_PREFIX)
    if tag == name or not _TAG_NAME.fullmatch(tag):
        return None
    return UsageDimension(
        name=name,
        label=f"Tag {tag}",
        of_records=Coalesce(KeyTextTransform(tag, "tags"), Value(""), output_field=CharField()),
        none=f"No tag {tag}",
    )


def known(name: str) -> UsageDimension:
    """Return a dimension of a parsed question."""
    found = find(name)
    assert found is not None, name
    return found
