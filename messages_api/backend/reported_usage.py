"""The token counts that an upstream reported for one response."""

from dataclasses import dataclass

from messages_api.backend.protocol.usage import Usage


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportedUsage:
    """An upstream's own counts, without any estimate of the gateway."""

    usage: Usage | None = None
    """None: the upstream reported none."""
    is_final: bool = False
    """Whether the counts cover the complete response."""

    @classmethod
    def of(cls, usage: Usage, *, is_final: bool) -> "ReportedUsage":
        """Return the counts reported so far. Final ones have both an input and an output count."""
        if usage.input is None and usage.output is None:
            return cls()
        return cls(usage=usage, is_final=is_final and usage.input is not None and usage.output is not None)
