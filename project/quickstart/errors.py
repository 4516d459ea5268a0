"""The one error of quickstart: something that the operator has to change, in a sentence that says what."""


class CannotStart(Exception):
    """Ends quickstart with this one line and a non-zero exit."""
