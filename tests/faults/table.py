"""Table of the upstream faults and their expected results, one row per scenario."""

from collections.abc import Mapping
from dataclasses import dataclass

from tests.faults.expected import (
    DIALECTS,
    LONG,
    SHORT,
    Either,
    billed,
    broken,
    by_dialect,
    invalid,
    of,
    status,
    timeout,
    unreachable,
    whole,
)
from tests.upstream.certificate_kinds import KINDS
from tests.upstream.well_behaved import ODD_CHARACTERS

MIB = 1024 * 1024
DOUBLED = "HelloHello, , world!world!"


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    fault: str
    """U1 to U30, or `status`."""
    scenario: str
    """Its name in the scripted upstream, or of another server: see `servers`."""
    title: str = ""
    """What the upstream does; the title of the scenario if empty."""
    plain: Either
    streamed: Either
    server: str = "scripted"
    within_s: float | None = None
    """The maximum duration of a request, if it is less than its timeout."""
    text_bytes: int = 0
    """The size of the client's text, if it matters."""
    is_heavy: bool = False
    """Whether megabytes are transferred: few of these requests run concurrently."""
    has_heartbeats: bool = False
    """Whether it runs on a gateway with early pings, so that a stream starts before the first event."""

    @property
    def timeouts(self) -> Mapping[str, float]:
        """The timeouts of its upstreams."""
        kinds = [of(either, dialect) for either in (self.plain, self.streamed) for dialect in DIALECTS]
        return SHORT if self.server in ("full", "no-such-host") or any(kind.limit for kind in kinds) else LONG

    @property
    def is_timed(self) -> bool:
        """Whether durations are checked: no heavy request may run beside it."""
        kinds = [of(either, dialect) for either in (self.plain, self.streamed) for dialect in DIALECTS]
        return any(kind.limit or kind.gaps for kind in kinds) or self.within_s is not None


def rows(fault: str, *scenarios: str, plain: Either, streamed: Either) -> list[Row]:
    """Return rows of scenarios with the same results."""
    return [Row(fault=fault, scenario=scenario, plain=plain, streamed=streamed) for scenario in scenarios]


def one(fault: str, scenario: str, *, plain: Either, streamed: Either, **details: object) -> list[Row]:
    return [Row(fault=fault, scenario=scenario, plain=plain, streamed=streamed, **details)]  # type: ignore[arg-type]


def same(fault: str, *scenarios: str, both: Either) -> list[Row]:
    return rows(fault, *scenarios, plain=both, streamed=both)


USUAL_GAPS = (0.25, 1.0)
RATE_LIMITED = status(429, "rate_limit_error", gaps=USUAL_GAPS)
RATE_LIMITED_IMMEDIATE = status(429, "rate_limit_error", gaps=(0.0, 0.5))
RATE_LIMITED_ONCE = status(429, "rate_limit_error", attempts=1)
RATE_LIMITED_SOON = status(429, "rate_limit_error", gaps=(1.0, 2.5))
OVERLOADED = status(529, "overloaded_error", gaps=USUAL_GAPS)
ACCOUNT = status(502, "api_error", attempts=1)
PARTIAL = by_dialect(openai=whole(usage="estimated"), anthropic=whole(usage="partial"))

STATUSES = [
    *same("status", "status-400", both=status(400, "invalid_request_error")),
    *same("status", "status-404", both=status(404, "not_found_error")),
    *same(
        "status",
        "status-408",
        both=by_dialect(
            openai=status(504, "timeout_error"), anthropic=status(408, "invalid_request_error", attempts=3)
        ),
    ),
    *same(
        "status",
        "status-409",
        both=by_dialect(openai=status(409, "conflict_error"), anthropic=status(409, "conflict_error")),
    ),
    *same("status", "status-413", both=status(413, "request_too_large")),
    *same(
        "status",
        "status-422",
        both=by_dialect(openai=status(400, "invalid_request_error"), anthropic=status(422, "invalid_request_error")),
    ),
    *same("status", "status-429", both=RATE_LIMITED),
    *same("status", "status-500", both=status(500, "api_error")),
    *same("status", "status-502", both=status(502, "api_error")),
    *same("status", "status-503", both=by_dialect(openai=OVERLOADED, anthropic=status(503, "api_error"))),
    *same("status", "status-504", both=status(504, "timeout_error")),
    *same("status", "status-529", both=OVERLOADED),
]

CONNECTION = [
    *one("U1", "refused", plain=unreachable(), streamed=unreachable(), server="refusing", title="refuses connections"),
    *one(
        "U1",
        "no-such-host",
        plain=unreachable(),
        streamed=unreachable(),
        server="no-such-host",
        title="the host name has no IP address",
    ),
    *one(
        "U1", "full", plain=unreachable(), streamed=unreachable(), server="full", title="never accepts the connection"
    ),
    *same("U2", "silent", both=timeout("first byte")),
    *one(
        "U2",
        "silent",
        plain=timeout("first byte"),
        streamed=broken("timeout_error", limit="first byte", usage="estimated"),
        has_heartbeats=True,
        title="never responds, and the stream has started with a ping",
    ),
    *same("U3", "silent-after-head", both=timeout("first byte")),
    *rows("U3", "silent-midway", plain=timeout("idle"), streamed=broken("timeout_error", limit="idle")),
    *rows("U3", "half-closed", plain=billed(), streamed=broken()),
    *one(
        "U4",
        "dribble",
        plain=timeout("request"),
        streamed=timeout("first byte"),
        title="a byte per second of an unterminated line or body",
    ),
    *one(
        "U4",
        "dribble-head",
        plain=timeout("first byte"),
        streamed=timeout("first byte"),
        title="a byte per second of an unterminated header",
    ),
    *one(
        "U4",
        "dribble-midway",
        plain=timeout("request"),
        streamed=broken("timeout_error", limit="idle"),
        title="half a response, then a byte per second",
    ),
    *same("U5", "reset-before-head", "close-before-head", "reset-after-head", both=invalid()),
    *rows("U5", "reset-midway", plain=billed(), streamed=broken()),
    *rows("U6", "cut", plain=billed(), streamed=whole()),
    *rows("U6", "cut-chunked", "cut-in-chunk", "cut-unframed", plain=billed(), streamed=broken()),
    *same("U6", "cut-at-once", both=invalid()),
]

RESPONSES = [
    *same("U7", "page", "page-as-promised", both=invalid()),
    *rows("U8", "truncated", plain=billed(), streamed=broken()),
    *same("U8", "empty-body", both=invalid()),
    *rows(
        "U9",
        "no-choices",
        plain=by_dialect(openai=billed(usage="partial"), anthropic=whole("")),
        streamed=by_dialect(openai=whole(""), anthropic=whole()),
    ),
    *rows(
        "U9",
        "null-choices",
        plain=by_dialect(openai=billed(usage="partial"), anthropic=whole("")),
        streamed=by_dialect(openai=whole(""), anthropic=broken()),
    ),
    *rows(
        "U9", "hollow-choices", plain=billed(usage="partial"), streamed=by_dialect(openai=whole(""), anthropic=whole())
    ),
    *rows(
        "U9", "wrong-choices", plain=billed(usage="partial"), streamed=by_dialect(openai=billed(), anthropic=broken())
    ),
    *same("U9", "list", "null", "error-in-200", both=invalid()),
    *rows("U10", "length-too-large", plain=billed(), streamed=whole()),
    *rows(
        "U10",
        "length-too-small",
        plain=billed(),
        streamed=by_dialect(openai=broken(), anthropic=whole()),
    ),
    *same("U11", "gzip", "gzip-nested", "brotli", both=billed()),
    *one(
        "U11",
        "gzip-bomb",
        plain=billed(),
        streamed=billed(),
        is_heavy=True,
        title="10 MB of gzip that expand to 10 GB",
    ),
    *one(
        "U11",
        "long-line-m70",
        plain=invalid(),
        streamed=invalid(),
        is_heavy=True,
        title="70 MB, more than the limit of 64 MiB",
    ),
    *one("U12", "endless-head", plain=invalid(), streamed=invalid(), within_s=5),
    *one("U12", "large-head", plain=invalid(), streamed=invalid(), within_s=5, title="100 kB of headers"),
    *one(
        "U12",
        "interim-n1000",
        plain=invalid(),
        streamed=invalid(),
        within_s=5,
        title="1,000 interim responses before the final one",
    ),
    *one("U12", "interim-n3", plain=whole(), streamed=whole(), title="three interim responses before the final one"),
    *one("U12", "bad-status-line", plain=invalid(), streamed=invalid(), within_s=5),
    *same("U13", "redirect-302", "redirect-307", both=invalid(usage="none")),
]

STREAMS = [
    *one("U14", "pings", plain=timeout("request"), streamed=timeout("request"), title="pings only, forever"),
    *one(
        "U14",
        "pings-midway",
        plain=timeout("request"),
        streamed=broken("timeout_error", limit="request"),
        title="a text, then pings forever",
    ),
    *one(
        "U15",
        "long-line-m20",
        plain=invalid(),
        streamed=invalid(),
        is_heavy=True,
        title="one line of 20 MB, more than the limit of 16 MiB",
    ),
    *one(
        "U15",
        "long-line-midway-m20",
        plain=whole(),
        streamed=broken(),
        is_heavy=True,
        title="a text, then such a line",
    ),
    *rows("U16", "invalid-utf8", plain=billed(), streamed=whole("Hello, w\ufffd\ufffdrld!")),
    *same("U16", "byte-by-byte", both=whole("H\u00e9llo \u4f60\u597d \U0001f600")),
    *same("U17", "sse-cr", "sse-crlf", "sse-crlf-cut", "sse-dressed", "sse-lines", "sse-unended", both=whole()),
    *rows("U18", "duplicates", plain=whole(), streamed=whole(DOUBLED)),
    *same("U18", "two-starts", "unknown-index", "after-the-end", both=whole()),
    *rows("U18", "no-start", plain=whole(), streamed=by_dialect(openai=whole(), anthropic=billed())),
    *rows("U19", "bad-json", plain=whole(), streamed=broken()),
    *rows("U19", "null-midway", plain=whole(), streamed=by_dialect(openai=whole(), anthropic=broken())),
    *same("U20", "odd-characters", both=whole(ODD_CHARACTERS * 2)),
    *rows("U21", "error-midway", plain=whole(), streamed=broken("overloaded_error")),
    *rows("U21", "error-first", plain=OVERLOADED, streamed=status(529, "overloaded_error", usage="estimated")),
    *same("U22", "unknown-events", both=whole()),
]

CONTENT = [
    *rows("U23", "no-usage", plain=whole(usage="estimated"), streamed=whole(usage="estimated")),
    *rows(
        "U23",
        "usage-negative",
        "usage-float",
        "usage-huge",
        "usage-string",
        "usage-null",
        plain=whole(usage="estimated"),
        streamed=PARTIAL,
    ),
    *rows("U23", "usage-nan", plain=billed(), streamed=by_dialect(openai=broken(), anthropic=billed())),
    *same("U24", "retry-after-0", "retry-after-negative", both=RATE_LIMITED_IMMEDIATE),
    *one(
        "U24",
        "retry-after-3",
        plain=status(429, "rate_limit_error", gaps=(3.0, 3.5)),
        streamed=status(429, "rate_limit_error", gaps=(3.0, 3.5)),
    ),
    *same("U24", "retry-after-huge", both=RATE_LIMITED_ONCE),
    *one(
        "U24",
        "retry-after-date",
        plain=RATE_LIMITED_ONCE,
        streamed=RATE_LIMITED_ONCE,
        title="429, retry-after a date in 2100",
    ),
    *one(
        "U24",
        "retry-after-soon",
        plain=RATE_LIMITED_SOON,
        streamed=RATE_LIMITED_SOON,
        title="429, retry-after a date in two seconds",
    ),
    *same("U24", "retry-after-garbage", both=RATE_LIMITED),
    *same("U25", "status-401", "status-402", "status-403", both=ACCOUNT),
    *same("U26", "leaky-400", both=status(400, "invalid_request_error")),
    *same("U27", "cookies", "hop-by-hop", "split-header", both=whole()),
    *same("U28", "tools-1-char", both=whole("", arguments='{"city": "Paris", "unit": "celsius"}')),
    *one("U28", "tools-large", plain=whole(""), streamed=whole(""), is_heavy=True, title="5 MB of arguments"),
    *same("U28", "tools-bad-json", both=whole("")),
    *(
        Row(fault="U29", scenario=kind, title=title, plain=both, streamed=both, server=f"tls-{kind}")
        for kind, title in KINDS.items()
        for both in [whole() if kind == "good" else unreachable()]
    ),
    *one(
        "U30",
        "early-413",
        plain=status(413, "request_too_large"),
        streamed=status(413, "request_too_large"),
        text_bytes=2 * MIB,
        is_heavy=True,
        title="413 while the request is still being sent",
    ),
    *one(
        "U30",
        "early-413-close",
        plain=status(413, "request_too_large"),
        streamed=status(413, "request_too_large"),
        text_bytes=2 * MIB,
        is_heavy=True,
        title="the same, then a close, which resets",
    ),
]

ROWS = [*STATUSES, *CONNECTION, *RESPONSES, *STREAMS, *CONTENT]
FAULTS = list(dict.fromkeys(row.fault for row in ROWS))
