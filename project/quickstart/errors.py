"""Error of quickstart: a sentence that says what the operator has to change."""


class CannotStart(Exception):
    """The end of quickstart with this line and a non-zero exit code."""
