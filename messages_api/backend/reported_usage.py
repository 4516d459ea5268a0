"""What an upstream itself said of the tokens of one answer."""

from dataclasses import dataclass

from messages_api.backend.protocol.usage import Usage


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportedUsage:
    """An upstream's own counts. Estimates of ours never come in here."""

    usage: Usage | None = None
    """None: it gave none."""
    is_final: bool = False
    """Whether they are the counts of the whole answer, not of its beginning."""

    @classmethod
    def of(cls, usage: Usage, *, is_final: bool) -> "ReportedUsage":
        """The figures in what an upstream said so far. Final ones have both an input and an output count."""
        if usage.input is None and usage.output is None:
            return cls()
        return cls(usage=usage, is_final=is_final and usage.input is not None and usage.output is not None)
