"""What people enter on their way into the admin besides a password."""

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib.admin.widgets import AdminTextInputWidget
from django.core.exceptions import ValidationError

from lib.encryption import CredentialUnreadable
from staff.models import Authenticator

WRONG = "wrong"


class CodeForm(forms.Form):
    """The six digits of the app, or a recovery code. What a right code brings about is its `result`."""

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
            raise ValidationError(f"Too many wrong codes. Try again in {wait_s} seconds.")
        try:
            self.result = self._accept(code)
        except CredentialUnreadable as error:
            raise ValidationError(
                "The second factor cannot be read: the encryption keys changed. Give a recovery code, or have it reset."
            ) from error
        if not self.result:
            raise ValidationError("This code is wrong, or was used before.", code=WRONG)
        return code
