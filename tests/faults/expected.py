"""What one kind of call is to come to: what its caller gets, how often the upstream is asked, what the ledger keeps."""

from collections.abc import Mapping
from dataclasses import dataclass

DIALECTS = ("openai", "anthropic")
RETRIED = {408, 429, 500, 502, 503, 504, 529}
"""Statuses for the caller after which the upstream was asked twice more, if it was the upstream that said so."""

SHORT = {"connect": 1.0, "first byte": 2.0, "silence": 3.2, "total": 6.0}
"""Seconds, where a deadline is what ends a call: as far apart as it takes to see which one it was."""
LONG = {"connect": 4.0, "first byte": 6.0, "silence": 6.0, "total": 12.0}
"""Where none does: a busy machine should not make one do it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Expected:
    outcome: str
    """`200 whole`, a status and an error type before the first byte, or `error` and its type after it."""
    calls: int = 1
    """How many attempts are made."""
    usage: str = "reported"
    """The usage source of the row."""
    limit: str = ""
    """The deadline that ends it, if one does."""
    text: str | None = None
    """The text of a whole answer."""
    arguments: str | None = None
    """The arguments of its tool call, as text."""
    gaps: tuple[float, float] | None = None
    """Between which seconds the wait before each further attempt is."""

    @property
    def is_whole(self) -> bool:
        return self.outcome == "200 whole"

    @property
    def http_status(self) -> int | None:
        """The status that the caller saw instead of a stream; None for an answer that has begun."""
        return None if self.is_whole or self.outcome.startswith("error") else int(self.outcome.split()[0])

    @property
    def error_type(self) -> str:
        return "" if self.is_whole else self.outcome.split()[1]

    @property
    def row_status(self) -> str:
        return "completed" if self.is_whole else "failed"


Either = Expected | Mapping[str, Expected]
"""The same for both dialects, or one for each."""


def of(either: Either, dialect: str) -> Expected:
    return either if isinstance(either, Expected) else either[dialect]


def whole(text: str | None = "Hello, world!", *, usage: str = "reported", arguments: str | None = None) -> Expected:
    return Expected(outcome="200 whole", usage=usage, text=text, arguments=arguments)


def status(
    code: int,
    type: str,
    *,
    calls: int | None = None,
    usage: str = "none",
    limit: str = "",
    gaps: tuple[float, float] | None = None,
) -> Expected:
    """A failure before the first byte. What ends by a deadline of ours is not tried again."""
    if calls is None:
        calls = 3 if code in RETRIED and not limit else 1
    return Expected(outcome=f"{code} {type}", calls=calls, usage=usage, limit=limit, gaps=gaps)


def unusable(*, usage: str = "estimated") -> Expected:
    """An answer that is none, however often it is asked for. It may be billed: the upstream did answer."""
    return status(502, "api_error", usage=usage)


def unreachable() -> Expected:
    """No connection, so nothing that could be billed."""
    return status(502, "api_error", usage="none")


def timeout(limit: str) -> Expected:
    return status(504, "timeout_error", usage="estimated", limit=limit)


def broken(type: str = "api_error", *, limit: str = "", usage: str = "") -> Mapping[str, Expected]:
    """A failure after the first byte. Only Anthropic's dialect tells a part of the usage at the start."""
    sources = {"openai": usage or "estimated", "anthropic": usage or "partial"}
    return {
        dialect: Expected(outcome=f"error {type}", usage=source, limit=limit) for dialect, source in sources.items()
    }


def by_dialect(*, openai: Either, anthropic: Either) -> Mapping[str, Expected]:
    return {"openai": of(openai, "openai"), "anthropic": of(anthropic, "anthropic")}
