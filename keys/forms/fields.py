"""Form fields and validators of API keys: model names, IP ranges, metadata and owner."""

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
from lib.admin.lines_field import LinesField
from lib.networks import Network, network
from lib.redaction import find_raw_key

MAX_MODEL_NAME_LENGTH = 256
MAX_METADATA_PAIRS = 20
MAX_METADATA_LENGTH = 500
YEARS = range(2000, 3000)
_METADATA_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")

Owner = Any
"""A user or a team."""


def check_no_raw_key(value: str) -> None:
    """Raise ValidationError for a text with a raw key in it: it would be stored and shown to other users."""
    if find_raw_key(value):
        raise ValidationError("Remove the API key from this text. Keys must not be stored here.")


def check_year(value: date) -> None:
    """Raise ValidationError for a year in which arithmetic with days and time zones could overflow."""
    if value.year not in YEARS:
        raise ValidationError(f"Enter a year from {YEARS[0]} to {YEARS[-1]}.")


class ModelNamesWidget(AdminTextareaWidget):
    """A text area, followed by model names that a click adds to it."""

    template_name = "keys/widgets/model_names.html"
    suggestions: Sequence[str] = ()

    def get_context(self, name: str, value: Any, attrs: Any) -> dict[str, Any]:
        return super().get_context(name, value, attrs) | {"suggestions": self.suggestions}


class ModelNamesField(LinesField):
    """A list of model names, one per line. A name may end in `*`."""

    placeholder = "claude-3-opus-20240229"

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(label="Allowed models", widget=ModelNamesWidget, **kwargs)

    def validate(self, value: list[str]) -> None:
        super().validate(value)
        for name in value:
            if not model_patterns.is_valid(name):
                raise ValidationError("Use * only at the end of a model name.")
            if len(name) > MAX_MODEL_NAME_LENGTH or not name.isprintable() or " " in name:
                raise ValidationError("Enter one model name per line, without spaces.")


class IPRangesField(LinesField):
    """IP addresses and CIDR ranges, one per line, normalized."""

    placeholder = "192.0.2.0/24"

    def to_python(self, value: Any) -> Any:
        return list(dict.fromkeys(_normalized(line) for line in super().to_python(value)))


def _normalized(line: str) -> str:
    try:
        parsed = network(line)
    except ValueError as error:
        message = "Enter one IP address or CIDR range per line, such as 192.0.2.7 or 2001:db8::/32."
        raise ValidationError(message) from error
    return str(parsed.network_address) if parsed.prefixlen == parsed.max_prefixlen else str(parsed)


def covers_all_ips(ranges: Sequence[str]) -> bool:
    """Return whether the ranges together cover the whole IPv4 or IPv6 space, however they are split."""
    parsed = [network(each) for each in ranges]
    for version in (4, 6):
        family: Any = [each for each in parsed if each.version == version]
        collapsed: list[Network] = list(ipaddress.collapse_addresses(family))
        if any(each.prefixlen == 0 for each in collapsed):
            return True
    return False


class MetadataField(LinesField):
    """Pairs of a name and a value, one `name=value` per line."""

    placeholder = "ticket=OPS-17"

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(f"{name}={text}" for name, text in value.items()) if isinstance(value, dict) else value

    def to_python(self, value: Any) -> Any:
        pairs = [line.partition("=") for line in super().to_python(value)]
        found: dict[str, str] = {}
        for name, equals, text in pairs:
            if not equals or not _METADATA_NAME.fullmatch(name.strip()):
                raise ValidationError("Enter one name=value per line. Names have letters, digits, dots, - and _.")
            if name.strip() in found:
                raise ValidationError(f"Duplicate name: {name.strip()}.")
            found[name.strip()] = text.strip()
        return found

    def validate(self, value: dict[str, str]) -> None:
        if len(value) > MAX_METADATA_PAIRS:
            raise ValidationError(f"Enter at most {MAX_METADATA_PAIRS} pairs.")
        for text in value.values():
            if len(text) > MAX_METADATA_LENGTH or not text.isprintable():
                raise ValidationError(f"Enter values of at most {MAX_METADATA_LENGTH} characters.")
            check_no_raw_key(text)


class OwnerField(forms.ChoiceField):
    """The owner of a key. Cleaned to a user or a team."""

    def __init__(self) -> None:
        super().__init__(label="Owner")
        self.owners: dict[str, Owner] = {}

    def load_choices(self, *, current: Owner = None) -> None:
        """Offer active users, enabled teams and the current owner, who may be inactive."""
        users, teams = get_user_model().objects, Team.objects.prefetch_related("budgets")
        is_user, is_team = isinstance(current, get_user_model()), isinstance(current, Team)
        active = users.filter(Q(is_active=True) | Q(pk=current.pk if is_user else None))
        enabled = teams.filter(Q(disabled_at=None) | Q(pk=current.pk if is_team else None))
        groups: dict[str, list[Owner]] = {
            "Users": list(active.order_by(get_user_model().USERNAME_FIELD)),
            "Teams": list(enabled),
        }
        self.owners = {owner_value(owner): owner for group in groups.values() for owner in group}
        self.choices = [("", "Choose a user or a team"), *_grouped(groups)]

    @property
    def teams(self) -> dict[str, Team]:
        return {value: owner for value, owner in self.owners.items() if isinstance(owner, Team)}

    def prepare_value(self, value: Any) -> Any:
        return value if isinstance(value, str) or value is None else owner_value(value)

    def clean(self, value: Any) -> Owner:
        return self.owners[super().clean(value)]

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool(self.prepare_value(initial) != data)


def owner_value(owner: Owner) -> str:
    """Return the form value of an owner: `user-7` or `team-3`."""
    return f"{'team' if isinstance(owner, Team) else 'user'}-{owner.pk}"


def _grouped(groups: dict[str, list[Owner]]) -> list[Any]:
    return [(name, [(owner_value(each), str(each)) for each in group]) for name, group in groups.items() if group]
