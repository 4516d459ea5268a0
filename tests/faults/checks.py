"""What does not agree with the table, in a line each."""

import itertools
import json
from collections.abc import Callable, Iterator

from tests.faults.answers import Seen
from tests.faults.run import CREDENTIAL, Played, Run

SLACK_S = 1.0
"""How much later than its deadline a call may end."""
EARLY_S = 0.1
GAP_SLACK_S = 0.8
"""How much longer than the wait itself the gap between two attempts may be: the attempt and its failure are in it."""
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
    "x-should-retry",
}
"""Ours, and the two that an upstream may say of another attempt. No other of its headers goes on."""
SECRETS = (CREDENTIAL, "127.0.0.1", "certificate", "ssl", "errno", "urllib3", "traceback")
FIXED_TEXTS = {
    "The upstream rejected the gateway's credential.",
    "The upstream account has run out of credit.",
}
DESCRIPTORS_MORE = 12
BOMB_GROWTH_MIB = 32


def mismatches(played: Played) -> list[str]:
    """What is wrong with one call."""
    return [f"{played.case.id}: {problem}" for check in _CHECKS for problem in check(played)]


def mismatches_of_run(run: Run) -> list[str]:
    """What is wrong with all of them together: what is left open, lost or counted twice."""
    found = [f"a call of nobody: {call.method} {call.path}" for call in run.strange_calls]
    found += [f"a record of nobody: {row.id} {row.client_request_id}" for row in run.strange_records]
    if run.open_calls:
        found.append(f"{run.open_calls} connections are held although nobody waits")
    before, after = run.descriptors
    if after > before + DESCRIPTORS_MORE:
        found.append(f"{after} file descriptors after {before} before")
    if run.bomb_growth_mib > BOMB_GROWTH_MIB:
        found.append(f"the gzip bombs left {run.bomb_growth_mib:.0f} MiB behind")
    return found


def keeps_its_deadline(played: Played) -> bool:
    """Whether it ended in time, and, where a deadline ended it, not before that."""
    case = played.case
    latest = min(case.limit_s, case.row.within_s or case.limit_s) + SLACK_S
    earliest = case.limit_s - EARLY_S if case.expected.limit else 0.0
    return earliest <= played.took_s <= latest


def is_closed(played: Played) -> bool:
    """Whether every script of this call has ended: nobody holds a connection for it."""
    return all(call.outcome for call in played.calls)


# ---- one call


def _answer(played: Played) -> Iterator[str]:
    yield from played.seen.problems
    expected, seen = played.case.expected, played.seen
    if seen.outcome != expected.outcome:
        yield f"expected {expected.outcome}, saw {seen.outcome or seen.body[:200]!r} {seen.message}"
    if not expected.is_whole or seen.outcome != expected.outcome:
        return
    if seen.model != played.case.id:
        yield f"the model became {seen.model!r}"
    if expected.text is not None and seen.text != expected.text:
        yield f"expected the text {expected.text!r}, saw {seen.text!r}"
    if expected.arguments is not None and json.loads(seen.arguments) != json.loads(expected.arguments):
        yield f"expected the arguments {expected.arguments!r}, saw {seen.arguments!r}"


def _deadline(played: Played) -> Iterator[str]:
    if not keeps_its_deadline(played):
        yield f"took {played.took_s:.2f} s of {played.case.limit_s} ({played.case.expected.limit or 'total'})"


def _record(played: Played) -> Iterator[str]:
    expected = played.case.expected
    if len(played.records) != 1:
        yield f"{len(played.records)} usage records"
        return
    (row,) = played.records
    wanted = (expected.row_status, expected.error_type, expected.usage)
    if (row.status, row.error_type, row.usage_source) != wanted:
        yield f"expected the row {wanted}, saw {(row.status, row.error_type, row.usage_source)}"
    if expected.http_status is not None and row.http_status != expected.http_status:
        yield f"the row says http_status {row.http_status}"
    if row.upstream != played.case.id:
        yield f"the row names the upstream {row.upstream!r}"
    if any(count is not None and count < 0 for count in (row.input_tokens, row.output_tokens)):
        yield f"negative tokens {row.input_tokens} {row.output_tokens}"


def _attempts(played: Played) -> Iterator[str]:
    expected, case = played.case.expected, played.case
    reached = expected.calls if case.row.server == "scripted" or case.expected.is_whole else 0
    if len(played.calls) != reached:
        yield f"expected {reached} calls at the upstream, saw {len(played.calls)}"
    for row in played.records:
        if len(row.attempts) != expected.calls:
            yield f"expected {expected.calls} attempts in the row, saw {row.attempts}"
        if any(set(attempt) != {"upstream", "model", "status", "ms", "error"} for attempt in row.attempts):
            yield f"attempts without their fields: {row.attempts}"
    told = [call for call in played.calls if call.body and f"This is {case.id}." not in str(call.body)[:2000]]
    if told:
        yield "the upstream was asked something else"


def _waits(played: Played) -> Iterator[str]:
    if played.case.expected.gaps is None:
        return
    least, most = played.case.expected.gaps
    moments = [call.at for call in played.calls]
    for first, second in itertools.pairwise(moments):
        if not least <= second - first <= most + GAP_SLACK_S:
            yield f"waited {second - first:.2f} s, not {least} to {most}"


def _headers(played: Played) -> Iterator[str]:
    if strange := set(played.seen.headers) - HEADERS:
        yield f"headers {sorted(strange)}"


def _secrets(played: Played) -> Iterator[str]:
    told = (played.seen.message + str(played.seen.headers)).lower()
    yield from (f"told {secret!r}: {played.seen.message}" for secret in SECRETS if secret in told)


def _closed(played: Played) -> Iterator[str]:
    if not is_closed(played):
        yield "a connection is held although nobody waits"


# ---- what single faults have besides


def _has_tools(seen: Seen, played: Played) -> Iterator[str]:
    if not seen.arguments:
        yield "no tool call"
    if played.case.row.scenario == "tools-large" and len(seen.arguments) < 5_000_000:
        yield f"{len(seen.arguments)} characters of arguments"


def _passes_unknown_events_to_their_own_kind(seen: Seen, played: Played) -> Iterator[str]:
    case = played.case
    is_passed = case.is_streamed and case.api_format == "anthropic" and case.dialect == "anthropic"
    if (b"message_note" in seen.body) is not is_passed:
        yield "an unknown event passed" if not is_passed else "an unknown event was dropped"


def _blames_nobody(seen: Seen, played: Played) -> Iterator[str]:
    if seen.message not in FIXED_TEXTS or seen.headers.get("x-should-retry") != "false":
        yield f"said {seen.message!r}, x-should-retry {seen.headers.get('x-should-retry')}"


def _hands_the_wait_on(seen: Seen, played: Played) -> Iterator[str]:
    if played.case.row.scenario == "retry-after-huge" and seen.headers.get("retry-after") != "1000000000":
        yield f"retry-after {seen.headers.get('retry-after')}"


def _is_redacted(seen: Seen, played: Played) -> Iterator[str]:
    if not seen.message.startswith("Bad request for ") or "[redacted]" not in seen.message:
        yield f"said {seen.message!r}"


def _is_cut_at_the_cap(seen: Seen, played: Played) -> Iterator[str]:
    """By our words for it: what is read in spite of its size is refused for its shape, in other words."""
    case = played.case
    if "long-line" not in case.row.scenario or case.expected.is_whole:
        return
    if case.is_streamed and "a frame that is too large" not in seen.message:
        yield f"a frame was not cut: {seen.message!r}"
    if case.row.fault == "U11" and not case.is_streamed and "broke off" not in seen.message:
        yield f"a whole answer was not cut: {seen.message!r}"


def _is_reused(seen: Seen, played: Played) -> Iterator[str]:
    if len({call.connection for call in played.calls}) > 1:
        yield "a connection was not used again after an error that was read to its end"


_OF_FAULT: dict[str, Callable[[Seen, Played], Iterator[str]]] = {
    "status": _is_reused,
    "U11": _is_cut_at_the_cap,
    "U15": _is_cut_at_the_cap,
    "U22": _passes_unknown_events_to_their_own_kind,
    "U24": _hands_the_wait_on,
    "U25": _blames_nobody,
    "U26": _is_redacted,
    "U28": _has_tools,
}


def _fault(played: Played) -> Iterator[str]:
    check = _OF_FAULT.get(played.case.row.fault)
    if check is not None:
        yield from check(played.seen, played)


_CHECKS = [_answer, _deadline, _record, _attempts, _waits, _headers, _secrets, _closed, _fault]
