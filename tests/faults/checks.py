"""Checks of the results against the table."""

import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any

from lib.failure_reasons import LABELS
from tests.faults.responses import ObservedResponse
from tests.faults.run import CREDENTIAL, Played, Run

SLACK_S = 1.0
"""How late after its timeout a request may end."""
EARLY_S = 0.1
GAP_SLACK_S = 0.8
"""How much longer than the backoff the gap between two attempts may be: it includes the attempt itself."""
HEADERS = {
    "allow",
    "cache-control",
    "connection",
    "content-length",
    "content-type",
    "cross-origin-opener-policy",
    "date",
    "referrer-policy",
    "request-id",
    "retry-after",
    "server",
    "transfer-encoding",
    "x-accel-buffering",
    "x-content-type-options",
    "x-frame-options",
    "x-gateway-target",
    "x-gateway-upstream-request-id",
    "x-should-retry",
}
"""The gateway's own headers, and the upstream's two about retries. None of its other headers is forwarded."""
SECRETS = (CREDENTIAL, "127.0.0.1", "certificate", "ssl", "errno", "urllib3", "traceback")
FIXED_TEXTS = {
    "The upstream rejected the gateway's credential.",
    "The upstream account has run out of credit.",
}
DESCRIPTORS_MORE = 12
BOMB_GROWTH_MIB = 32


def mismatches(played: Played) -> list[str]:
    """Return the problems of one request."""
    return [f"{played.case.id}: {problem}" for check in _CHECKS for problem in check(played)]


def mismatches_of_run(run: Run) -> list[str]:
    """Return the problems of the whole run: open connections, lost requests and duplicates."""
    found = [f"unassigned request: {request.method} {request.path}" for request in run.unassigned_requests]
    found += [f"unassigned usage record: {row.id} {row.client_request_id}" for row in run.unassigned_records]
    if run.open_requests:
        found.append(f"{run.open_requests} connections are still open")
    before, after = run.descriptors
    if after > before + DESCRIPTORS_MORE:
        found.append(f"{after} file descriptors, {before} before")
    if run.bomb_growth_mib > BOMB_GROWTH_MIB:
        found.append(f"the memory grew by {run.bomb_growth_mib:.0f} MiB over the gzip bombs")
    return found


def is_on_time(played: Played) -> bool:
    """Whether the request ended in time and, if a timeout ended it, not before that timeout."""
    case = played.case
    latest = min(case.limit_s, case.row.within_s or case.limit_s) + SLACK_S
    earliest = case.limit_s - EARLY_S if case.expected.limit else 0.0
    return earliest <= played.took_s <= latest


def is_closed(played: Played) -> bool:
    """Whether all scripts of this request have ended, so that no connection is open for it."""
    return all(request.outcome for request in played.requests)


# ---- one request


def _response(played: Played) -> Iterator[str]:
    yield from played.observed.problems
    expected, observed = played.case.expected, played.observed
    if observed.outcome != expected.outcome:
        yield f"expected {expected.outcome}, saw {observed.outcome or observed.body[:200]!r} {observed.message}"
    if not expected.is_whole or observed.outcome != expected.outcome:
        return
    if observed.model != played.case.id:
        yield f"the model is {observed.model!r}"
    if expected.text is not None and observed.text != expected.text:
        yield f"expected the text {expected.text!r}, saw {observed.text!r}"
    if expected.arguments is not None and json.loads(observed.arguments) != json.loads(expected.arguments):
        yield f"expected the arguments {expected.arguments!r}, saw {observed.arguments!r}"


def _timing(played: Played) -> Iterator[str]:
    if not is_on_time(played):
        yield f"took {played.took_s:.2f} s of {played.case.limit_s} ({played.case.expected.limit or 'request'})"


def _record(played: Played) -> Iterator[str]:
    expected = played.case.expected
    if len(played.records) != 1:
        yield f"{len(played.records)} usage records"
        return
    (row,) = played.records
    expected_row = (expected.row_status, expected.error_type, expected.usage)
    if (row.status, row.error_type, row.usage_source) != expected_row:
        yield f"expected the usage record {expected_row}, saw {(row.status, row.error_type, row.usage_source)}"
    if expected.http_status is not None and row.http_status != expected.http_status:
        yield f"the usage record has http_status {row.http_status}"
    if row.upstream != played.case.id:
        yield f"the usage record has the upstream {row.upstream!r}"
    if any(count is not None and count < 0 for count in (row.input_tokens, row.output_tokens)):
        yield f"negative tokens {row.input_tokens} {row.output_tokens}"


ATTEMPT = {"upstream", "model", "status", "ms", "error"}
ATTEMPT_TOKENS = {"input_tokens", "output_tokens", "usage_source"}
"""Fields of a failed attempt that may have been billed."""


def _is_complete(attempt: dict[str, Any]) -> bool:
    """Whether an attempt has its fields, and a reason if it failed."""
    expected = ATTEMPT | ({"reason"} if attempt.get("error") else set())
    is_known = not attempt.get("error") or attempt.get("reason", "").partition(":")[0] in LABELS
    return is_known and set(attempt) - {"request_id"} in (expected, expected | ATTEMPT_TOKENS)


def _attempts(played: Played) -> Iterator[str]:
    expected, case = played.case.expected, played.case
    reached = expected.attempts if case.row.server == "scripted" or case.expected.is_whole else 0
    if len(played.requests) != reached:
        yield f"expected {reached} requests at the upstream, saw {len(played.requests)}"
    for row in played.records:
        if len(row.attempts) != expected.attempts:
            yield f"expected {expected.attempts} attempts in the usage record, saw {row.attempts}"
        if any(not _is_complete(attempt) for attempt in row.attempts):
            yield f"attempts without their fields: {row.attempts}"
    different = [
        request for request in played.requests if request.body and f"This is {case.id}." not in str(request.body)[:2000]
    ]
    if different:
        yield "the upstream received a different request"


def _waits(played: Played) -> Iterator[str]:
    if played.case.expected.gaps is None:
        return
    least, most = played.case.expected.gaps
    moments = [request.at for request in played.requests]
    for first, second in itertools.pairwise(moments):
        if not least <= second - first <= most + GAP_SLACK_S:
            yield f"waited {second - first:.2f} s, not {least} to {most}"


def _headers(played: Played) -> Iterator[str]:
    if strange := set(played.observed.headers) - HEADERS:
        yield f"headers {sorted(strange)}"


def _secrets(played: Played) -> Iterator[str]:
    sent = (played.observed.message + str(played.observed.headers)).lower()
    yield from (f"contains {secret!r}: {played.observed.message}" for secret in SECRETS if secret in sent)


def _closed(played: Played) -> Iterator[str]:
    if not is_closed(played):
        yield "a connection is still open"


# ---- checks of single faults


def _has_tools(observed: ObservedResponse, played: Played) -> Iterator[str]:
    if not observed.arguments:
        yield "no tool call"
    if played.case.row.scenario == "tools-large" and len(observed.arguments) < 5_000_000:
        yield f"{len(observed.arguments)} characters of arguments"


def _forwards_unknown_events_to_anthropic_clients(observed: ObservedResponse, played: Played) -> Iterator[str]:
    case = played.case
    is_passed = case.is_streamed and case.api_format == "anthropic" and case.dialect == "anthropic"
    if (b"message_note" in observed.body) is not is_passed:
        yield "an unknown event was forwarded" if not is_passed else "an unknown event was dropped"


def _has_fixed_message(observed: ObservedResponse, played: Played) -> Iterator[str]:
    if observed.message not in FIXED_TEXTS or observed.headers.get("x-should-retry") != "false":
        yield f"message {observed.message!r}, x-should-retry {observed.headers.get('x-should-retry')}"


def _forwards_retry_after(observed: ObservedResponse, played: Played) -> Iterator[str]:
    if played.case.row.scenario == "retry-after-huge" and observed.headers.get("retry-after") != "1000000000":
        yield f"retry-after {observed.headers.get('retry-after')}"


def _is_redacted(observed: ObservedResponse, played: Played) -> Iterator[str]:
    if not observed.message.startswith("Bad request for ") or "[redacted]" not in observed.message:
        yield f"message {observed.message!r}"


def _is_limited_in_size(observed: ObservedResponse, played: Played) -> Iterator[str]:
    """Identified by the message: a response that was read in spite of its size fails with another one."""
    case = played.case
    if "long-line" not in case.row.scenario or case.expected.is_whole:
        return
    if case.is_streamed and "a frame that is too large" not in observed.message:
        yield f"the size of a frame was not limited: {observed.message!r}"
    if case.row.fault == "U11" and not case.is_streamed and "incomplete or invalid" not in observed.message:
        yield f"the size of a response was not limited: {observed.message!r}"


def _is_reused(observed: ObservedResponse, played: Played) -> Iterator[str]:
    if len({request.connection for request in played.requests}) > 1:
        yield "a connection was not reused after an error that was read completely"


_OF_FAULT: dict[str, Callable[[ObservedResponse, Played], Iterator[str]]] = {
    "status": _is_reused,
    "U11": _is_limited_in_size,
    "U15": _is_limited_in_size,
    "U22": _forwards_unknown_events_to_anthropic_clients,
    "U24": _forwards_retry_after,
    "U25": _has_fixed_message,
    "U26": _is_redacted,
    "U28": _has_tools,
}


def _fault(played: Played) -> Iterator[str]:
    check = _OF_FAULT.get(played.case.row.fault)
    if check is not None:
        yield from check(played.observed, played)


_CHECKS = [_response, _timing, _record, _attempts, _waits, _headers, _secrets, _closed, _fault]
