"""Form field for a list of texts, one per line."""

from typing import Any

from django import forms
from django.contrib.admin.widgets import AdminTextareaWidget
from django.core.exceptions import ValidationError

MAX_LINES = 200


class LinesField(forms.CharField):
    """A list with one item per line, without duplicates."""

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
        if len(value) > MAX_LINES:
            raise ValidationError(f"Enter at most {MAX_LINES} lines.")

    def run_validators(self, value: Any) -> None:
        """Skip the validators of CharField, which expect a string; `validate` has checked each line."""

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool(self.to_python(self.prepare_value(initial)) != self.to_python(data))
