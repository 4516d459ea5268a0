"""Expected result of a request: the client's response, the number of attempts and the usage record."""

from collections.abc import Mapping
from dataclasses import dataclass

DIALECTS = ("openai", "anthropic")
RETRIED_STATUSES = {408, 429, 500, 502, 503, 504, 529}
"""Statuses of an upstream that lead to two retries."""

SHORT = {"connect": 1.0, "first byte": 2.0, "idle": 3.2, "request": 6.0}
"""Timeouts in seconds of cases that a timeout ends: different enough to identify which one it was."""
LONG = {"connect": 4.0, "first byte": 6.0, "idle": 6.0, "request": 12.0}
"""Timeouts of the other cases: long enough that a busy machine does not cause one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Expected:
    outcome: str
    """`200 whole`, a status and an error type before the first byte, or `error` and its type after it."""
    attempts: int = 1
    """The number of attempts."""
    usage: str = "reported"
    """The usage source of the usage record."""
    limit: str = ""
    """The timeout that ends the request, if any."""
    text: str | None = None
    """The text of a complete response."""
    arguments: str | None = None
    """The arguments of its tool call, as text."""
    gaps: tuple[float, float] | None = None
    """The minimum and maximum wait before each retry, in seconds."""

    @property
    def is_whole(self) -> bool:
        return self.outcome == "200 whole"

    @property
    def http_status(self) -> int | None:
        """The status of a failure before the first byte; None if a response has started."""
        return None if self.is_whole or self.outcome.startswith("error") else int(self.outcome.split()[0])

    @property
    def error_type(self) -> str:
        return "" if self.is_whole else self.outcome.split()[1]

    @property
    def row_status(self) -> str:
        return "completed" if self.is_whole else "failed"


Either = Expected | Mapping[str, Expected]
"""One for both dialects, or one for each."""


def of(either: Either, dialect: str) -> Expected:
    return either if isinstance(either, Expected) else either[dialect]


def whole(text: str | None = "Hello, world!", *, usage: str = "reported", arguments: str | None = None) -> Expected:
    return Expected(outcome="200 whole", usage=usage, text=text, arguments=arguments)


def status(
    code: int,
    type: str,
    *,
    attempts: int | None = None,
    usage: str = "none",
    limit: str = "",
    gaps: tuple[float, float] | None = None,
) -> Expected:
    """Return a failure before the first byte. A timeout of the gateway is not retried."""
    if attempts is None:
        attempts = 3 if code in RETRIED_STATUSES and not limit else 1
    return Expected(outcome=f"{code} {type}", attempts=attempts, usage=usage, limit=limit, gaps=gaps)


def invalid(*, usage: str = "estimated") -> Expected:
    """Return an invalid response in every attempt. It may be billed: the upstream did respond."""
    return status(502, "api_error", usage=usage)


def billed(*, usage: str = "estimated") -> Expected:
    """Return a response that was generated and cannot be read. It is not requested again."""
    return status(502, "api_error", usage=usage, attempts=1)


def unreachable() -> Expected:
    """Return a failure to connect, which cannot be billed."""
    return status(502, "api_error", usage="none")


def timeout(limit: str) -> Expected:
    return status(504, "timeout_error", usage="estimated", limit=limit)


def broken(type: str = "api_error", *, limit: str = "", usage: str = "") -> Mapping[str, Expected]:
    """Return a failure after the first byte. Only Anthropic's dialect reports a part of the usage at the start."""
    sources = {"openai": usage or "estimated", "anthropic": usage or "partial"}
    return {
        dialect: Expected(outcome=f"error {type}", usage=source, limit=limit) for dialect, source in sources.items()
    }


def by_dialect(*, openai: Either, anthropic: Either) -> Mapping[str, Expected]:
    return {"openai": of(openai, "openai"), "anthropic": of(anthropic, "anthropic")}
