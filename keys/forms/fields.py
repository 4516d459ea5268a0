"""The fields that people fill in about keys."""

import ipaddress
import re
from collections.abc import Sequence
from datetime import date
from typing import Any

from django import forms
from django.contrib.admin.widgets import AdminTextareaWidget
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db.models import Q

from keys.models import Team
from lib import model_patterns
from lib.networks import Network, network
from lib.redaction import find_raw_key

LONGEST_MODEL_NAME = 256
LONGEST_LIST = 200
LONGEST_METADATA = 20
YEARS = range(2000, 3000)
_METADATA_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")

Holder = Any
"""A user or a team."""


def check_no_raw_key(value: str) -> None:
    """Raise ValidationError for a text with a raw key in it: it would be stored, and shown to others."""
    if find_raw_key(value):
        raise ValidationError("This has an API key in it. A key is written down nowhere here.")


def check_year(value: date) -> None:
    """Raise ValidationError for a year in which the arithmetic of days and time zones could leave the calendar."""
    if value.year not in YEARS:
        raise ValidationError(f"Give a year from {YEARS[0]} to {YEARS[-1]}.")


class LinesField(forms.CharField):
    """A list, one thing a line, without doubles."""

    rows = 3
    placeholder = ""

    def __init__(self, **kwargs: Any) -> None:
        attrs = {"rows": self.rows, "spellcheck": "false", "placeholder": self.placeholder}
        super().__init__(required=False, widget=kwargs.pop("widget", AdminTextareaWidget)(attrs=attrs), **kwargs)

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(value) if isinstance(value, list) else value

    def to_python(self, value: Any) -> Any:
        lines = (line.strip() for line in (value or "").splitlines())
        return list(dict.fromkeys(line for line in lines if line))

    def validate(self, value: Any) -> None:
        if len(value) > LONGEST_LIST:
            raise ValidationError(f"Give {LONGEST_LIST} lines at most.")

    def run_validators(self, value: Any) -> None:
        """Those of CharField look at a text; `validate` has looked at each line."""

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool(self.to_python(self.prepare_value(initial)) != self.to_python(data))


class ModelNamesWidget(AdminTextareaWidget):
    """The list, and below it the names that can be put into it."""

    template_name = "keys/widgets/model_names.html"
    offers: Sequence[str] = ()

    def get_context(self, name: str, value: Any, attrs: Any) -> dict[str, Any]:
        return super().get_context(name, value, attrs) | {"offers": self.offers}


class ModelNamesField(LinesField):
    """A list of model names, one a line. A name may end in `*`."""

    placeholder = "claude-3-opus-20240229"

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(label="Allowed models", widget=ModelNamesWidget, **kwargs)

    def validate(self, value: list[str]) -> None:
        super().validate(value)
        for name in value:
            if not model_patterns.is_valid(name):
                raise ValidationError("A * may stand at the end of a name only.")
            if len(name) > LONGEST_MODEL_NAME or not name.isprintable() or " " in name:
                raise ValidationError("Give one model name a line, without spaces.")


class AddressesField(LinesField):
    """Addresses and networks, one a line, in their canonical spelling."""

    placeholder = "192.0.2.0/24"

    def to_python(self, value: Any) -> Any:
        return list(dict.fromkeys(_canonical(line) for line in super().to_python(value)))


def _canonical(line: str) -> str:
    try:
        parsed = network(line)
    except ValueError as error:
        raise ValidationError("Give one address or network a line, such as 192.0.2.7 or 2001:db8::/32.") from error
    return str(parsed.network_address) if parsed.prefixlen == parsed.max_prefixlen else str(parsed)


def reach_everybody(addresses: Sequence[str]) -> bool:
    """Whether some networks together are all addresses of a family, however they are cut."""
    parsed = [network(address) for address in addresses]
    for version in (4, 6):
        family: Any = [each for each in parsed if each.version == version]
        whole: list[Network] = list(ipaddress.collapse_addresses(family))
        if any(each.prefixlen == 0 for each in whole):
            return True
    return False


class MetadataField(LinesField):
    """Pairs of a name and a text, `name=text` a line."""

    placeholder = "ticket=OPS-17"

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(f"{name}={text}" for name, text in value.items()) if isinstance(value, dict) else value

    def to_python(self, value: Any) -> Any:
        pairs = [line.partition("=") for line in super().to_python(value)]
        found: dict[str, str] = {}
        for name, equals, text in pairs:
            if not equals or not _METADATA_NAME.fullmatch(name.strip()):
                raise ValidationError("Give name=text, one a line; a name has letters, digits, dots, - and _ only.")
            if name.strip() in found:
                raise ValidationError(f"The name {name.strip()} is there twice.")
            found[name.strip()] = text.strip()
        return found

    def validate(self, value: dict[str, str]) -> None:
        if len(value) > LONGEST_METADATA:
            raise ValidationError(f"Give {LONGEST_METADATA} pairs at most.")
        for text in value.values():
            if len(text) > 500 or not text.isprintable():
                raise ValidationError("Give texts of 500 characters at most.")
            check_no_raw_key(text)


class OwnerField(forms.ChoiceField):
    """Who a key belongs to: a person or a team. Cleaned to the user or the team."""

    def __init__(self) -> None:
        super().__init__(label="Belongs to")
        self.holders: dict[str, Holder] = {}

    def offer(self, *, besides: Holder = None) -> None:
        """Active people and enabled teams, and whoever has the key already."""
        people, teams = get_user_model().objects, Team.objects.prefetch_related("budgets")
        is_person, is_team = isinstance(besides, get_user_model()), isinstance(besides, Team)
        users = people.filter(Q(is_active=True) | Q(pk=besides.pk if is_person else None))
        enabled = teams.filter(Q(disabled_at=None) | Q(pk=besides.pk if is_team else None))
        groups: dict[str, list[Holder]] = {
            "People": list(users.order_by(get_user_model().USERNAME_FIELD)),
            "Teams": list(enabled),
        }
        self.holders = {value_of(owner_choice): owner_choice for group in groups.values() for owner_choice in group}
        self.choices = [("", "Choose a person or a team"), *_grouped(groups)]

    @property
    def teams(self) -> dict[str, Team]:
        return {value: owner_choice for value, owner_choice in self.holders.items() if isinstance(owner_choice, Team)}

    def prepare_value(self, value: Any) -> Any:
        return value if isinstance(value, str) or value is None else value_of(value)

    def clean(self, value: Any) -> Holder:
        return self.holders[super().clean(value)]

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool(self.prepare_value(initial) != data)


def value_of(owner_choice: Holder) -> str:
    """How a person or a team stands in the form."""
    return f"{'team' if isinstance(owner_choice, Team) else 'user'}-{owner_choice.pk}"


def _grouped(groups: dict[str, list[Holder]]) -> list[Any]:
    return [(name, [(value_of(each), str(each)) for each in group]) for name, group in groups.items() if group]
