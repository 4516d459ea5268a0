"""Form for a two-factor code."""

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib.admin.widgets import AdminTextInputWidget
from django.core.exceptions import ValidationError

from lib.encryption import CredentialUnreadable
from staff.models import Authenticator

INVALID_CODE = "invalid code"


class CodeForm(forms.Form):
    """Form for a code of the authenticator app or a recovery code. `result` is what `accept` returned for it."""

    code = forms.CharField(
        max_length=20,
        widget=AdminTextInputWidget(attrs={"autocomplete": "one-time-code", "autofocus": True, "spellcheck": "false"}),
    )
    result: Any = None

    def __init__(
        self,
        data: Any = None,
        *,
        authenticator: Authenticator | None = None,
        accept: Callable[[str], Any] = lambda code: None,
    ) -> None:
        super().__init__(data)
        self._authenticator = authenticator
        self._accept = accept

    def clean_code(self) -> str:
        code: str = self.cleaned_data["code"]
        if self._authenticator and (wait_s := self._authenticator.wait_s()):
            raise ValidationError(f"Too many invalid codes. Try again in {wait_s} seconds.")
        try:
            self.result = self._accept(code)
        except CredentialUnreadable as error:
            raise ValidationError(
                "The authenticator app cannot be verified: the encryption keys changed. Use a recovery code, or ask an "
                "administrator to reset two-factor authentication."
            ) from error
        if not self.result:
            raise ValidationError("Invalid code, or already used.", code=INVALID_CODE)
        return code
