"""Saves what a form shows, and nothing else."""

from typing import Any

from django import forms


class SavesItsFields(forms.ModelForm):
    """Of a row that exists, writes the form's own fields.

    Django writes the whole row as it was when the form was read: whoever revokes a key meanwhile would be overruled.
    """

    besides: tuple[str, ...] = ()
    """Fields of the model that the form sets without showing them."""

    @property
    def written(self) -> list[str] | None:
        """What is written: all of a new row."""
        if self.instance._state.adding:
            return None
        return [*self._meta.fields, *self.besides]  # type: ignore[misc]

    def save(self, commit: bool = True) -> Any:
        if not commit or self.errors:
            return super().save(commit)
        self.instance.save(update_fields=self.written)
        return self.instance
