"""Model form that saves only the fields it shows."""

from typing import Any

from django import forms


class PartialSaveForm(forms.ModelForm):
    """A model form that updates only its own fields of an existing row.

    Django saves the whole row as it was when the form was loaded: that would undo a concurrent change, such as a
    revocation.
    """

    hidden_fields_to_save: tuple[str, ...] = ()
    """Model fields that the form sets without showing them."""

    @property
    def update_fields(self) -> list[str] | None:
        """The fields to save; None, which means all of them, for a new row."""
        if self.instance._state.adding:
            return None
        return [*self._meta.fields, *self.hidden_fields_to_save]  # type: ignore[misc]

    def save(self, commit: bool = True) -> Any:
        if not commit or self.errors:
            return super().save(commit)
        self.instance.save(update_fields=self.update_fields)
        return self.instance
