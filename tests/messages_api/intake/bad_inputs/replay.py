"""Replay the catalogue of requests against a running gateway and check every answer.

    python -m tests.messages_api.intake.bad_inputs.replay --base http://127.0.0.1:8000 --vars vars.json
    python -m tests.messages_api.intake.bad_inputs.replay --base http://127.0.0.1:8000 --vars vars.json --only '^json_'
    python -m tests.messages_api.intake.bad_inputs.replay --list

Exit status: 0 all rows that ran passed, 1 at least one mismatch, 2 nothing could run.

The gateway under test has upstreams that answer 200 to everything and routes for two models only (no `*`,
or unknown models are not unknown). Run it over plain HTTP, directly or, with --proxy, behind a proxy.

The vars file is one JSON object, placeholder name to text. A row whose placeholder is missing is skipped.

    KEY                 a live key without limits, allowed every model
    KEY_UNKNOWN         well formed, right checksum, never issued
    KEY_REVOKED, KEY_EXPIRED, KEY_DISABLED, KEY_OWNER_INACTIVE
                        keys that must no longer open anything
    KEY_IP_LOCKED       allowed from ALLOWED_IP only, which is not the address that this program calls from
    ALLOWED_IP          an address, e.g. 192.0.2.7
    KEY_NO_MODEL        may not use MODEL
    KEY_BROKE           budget spent
    KEY_ONE_CENT        0.01 USD left; 64,000 output tokens of MODEL cost more
    KEY_RATE0           request limit used up
    MODEL               a routed model with a price
    MODEL_UNPRICED      a routed model without one
    ADMIN_SESSION       the session cookie of a logged-in admin
    UPSTREAM_COUNT_URL  optional: answers, as plain text, how many calls the upstream has had; without it
                        the number of upstream calls is not checked

KEY20, KEY_UPPER, KEY_BADSUM and HOST are derived from KEY and --base unless they are given.

A row of the catalogue:

    name, method, path, headers, body   the request; a body object is sent as JSON, a body text byte for byte
                                        (latin-1, so any byte can be written)
    raw                                 instead of method, path and headers: the request as it goes over the
                                        wire; {{BODY}} and {{LENGTH}} stand for the body and its length
    expect_status                       one status or a list; 0 = closed without an answer
    expect.type                         the error type; without it, the type that belongs to the status
    expect.mentions                     words that error.message or error.param must contain
    expect.headers                      response headers that must be present
    expect.upstream_calls               how many calls the upstream gets
    expect.within_s                     the answer, or the close, comes within so many seconds (default 20)
    expect.loose                        a server in front may answer first: only status, upstream calls and
                                        leaks are checked (so with --proxy for every answer that carries no
                                        request-id header: it is taken for the proxy's own)
    expect.note                         for the reader
    native                              true: the row is replayed on the native lane too (NAME@native), with
                                        the same outcome; a number: there with this status instead

In texts {{NAME}} is a placeholder, {{REP:text:n}} is text n times, {{GEN:keys:n}} is n JSON members.
"""

import argparse
import http.client
import io
import json
import re
import select
import socket
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

PLACEHOLDER = re.compile(r"\{\{([A-Z0-9_]+)\}\}")
REPEAT = re.compile(r"\{\{REP:(.*?):(\d+)\}\}", re.DOTALL)
MEMBERS = re.compile(r"\{\{GEN:keys:(\d+)\}\}")

NATIVE_PREFIX = "/api/anthropic/"
CLOSED, STILL_OPEN = 0, -1

ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    411: "invalid_request_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    502: "api_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}


class MissingPlaceholder(Exception):
    """The vars file does not give a value that a row needs."""


@dataclass(frozen=True)
class Answer:
    """What came back. status is CLOSED or STILL_OPEN when there was no answer."""

    status: int
    headers: dict[str, str]
    body: bytes


# ---------------------------------------------------------------- a row becomes bytes


def expand(text: str, values: dict[str, str]) -> str:
    """Fill in placeholders, then repetitions."""

    def value(match: re.Match) -> str:
        if match[1] not in values:
            raise MissingPlaceholder(match[1])
        return values[match[1]]

    text = PLACEHOLDER.sub(value, text)
    text = MEMBERS.sub(lambda m: ",".join(f'"k{i}":1' for i in range(int(m[1]))), text)
    return REPEAT.sub(lambda m: m[1] * int(m[2]), text)


def request_bytes(row: dict, values: dict[str, str]) -> bytes:
    """The request of a row as it goes over the wire."""
    body = row.get("body")
    if body is None:
        payload = b""
    elif isinstance(body, str):
        payload = expand(body, values).encode("latin-1")
    else:
        payload = expand(json.dumps(body), values).encode()
    if "raw" in row:
        values = {**values, "BODY": payload.decode("latin-1"), "LENGTH": str(len(payload))}
        return expand(row["raw"], values).encode("latin-1")
    head = [f"{row['method']} {expand(row['path'], values)} HTTP/1.1", f"Host: {values['HOST']}"]
    head += [f"{name}: {expand(value, values)}" for name, value in row["headers"].items()]
    if body is not None:
        head.append(f"Content-Length: {len(payload)}")
    head.append("Connection: close")
    return "\r\n".join([*head, "", ""]).encode("latin-1") + payload


# ---------------------------------------------------------------- bytes become an answer


class Recorded(io.BytesIO):
    """Received bytes, in the shape in which http.client wants a socket."""

    def makefile(self, *_args) -> "Recorded":
        return self


def parse(received: bytes, closed: bool) -> Answer | None:
    """The first final answer in received; None when it is not (yet) all there."""
    if b"\r\n\r\n" not in received:
        return None
    response = http.client.HTTPResponse(Recorded(received))  # type: ignore[arg-type]
    try:
        response.begin()
        if response.length is None and not response.chunked and not closed:
            return None
        body = response.read()
    except (http.client.HTTPException, OSError, ValueError):
        return None
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Answer(response.status, headers, body)


def exchange(base: str, request: bytes, seconds: float) -> Answer:
    """Send request and wait for the answer, reading while sending: an early refusal must not be lost."""
    url = urlsplit(base)
    received, unsent = bytearray(), memoryview(request)
    deadline = time.monotonic() + seconds
    with socket.create_connection((url.hostname, url.port or 80), timeout=5) as sock:
        sock.setblocking(False)
        while (left := deadline - time.monotonic()) > 0:
            readable, writable, _ = select.select([sock], [sock] if unsent else [], [], left)
            if writable:
                try:
                    unsent = unsent[sock.send(unsent[:65536]) :]
                except ConnectionError:
                    unsent = unsent[:0]
            if readable:
                try:
                    data = sock.recv(65536)
                except ConnectionError:
                    data = b""
                received += data
                answer = parse(bytes(received), closed=not data)
                if answer or not data:
                    return answer or Answer(CLOSED, {}, bytes(received))
    return Answer(STILL_OPEN, {}, bytes(received))


# ---------------------------------------------------------------- an answer is judged


def object_in(owner_choice: dict, name: str) -> dict:
    """The object under a name, or an empty one."""
    value = owner_choice.get(name)
    return value if isinstance(value, dict) else {}


def envelope_problems(answer: Answer, document: dict) -> tuple[list[str], dict]:
    """Check the four keys of the envelope lane; also return the error object."""
    if set(document) != {"success", "code", "message", "data"}:
        return [f"keys {sorted(document)}, want success, code, message, data"], {}
    problems = []
    failed = answer.status >= 400
    if document["code"] != str(answer.status):
        problems.append(f"code {document['code']!r}, want {str(answer.status)!r}")
    if document["success"] is not (not failed):
        problems.append(f"success {document['success']!r} with status {answer.status}")
    if not isinstance(document["message"], str) or not document["message"]:
        problems.append("message is no text")
    data = document["data"] if isinstance(document["data"], dict) else {}
    if not failed:
        return problems + [f"data lacks {key}" for key in ("choices", "usage") if not data.get(key)], {}
    error = object_in(data, "error")
    if set(error) != {"type", "message", "param"}:
        problems.append(f"data.error has {sorted(error)}, want message, param, type")
    return problems + request_id_problems(answer, data), error


def native_problems(answer: Answer, document: dict) -> tuple[list[str], dict]:
    """Check Anthropic's own shapes; also return the error object."""
    want = "error" if answer.status >= 400 else "message"
    problems = [] if document.get("type") == want else [f"type {document.get('type')!r}, want {want!r}"]
    if answer.status < 400:
        return problems, {}
    error = object_in(document, "error")
    return problems + request_id_problems(answer, document), error


def request_id_problems(answer: Answer, owner_choice: dict) -> list[str]:
    header, body = answer.headers.get("request-id"), owner_choice.get("request_id")
    return [] if header == body else [f"request_id {body!r} in the body, {header!r} in the header"]


def body_problems(row: dict, path: str, answer: Answer) -> list[str]:
    """Check headers, shape and error of an answer that the gateway itself gave."""
    expect, problems = row["expect"], []
    if not answer.headers.get("request-id", "").startswith("req_"):
        problems.append("no request-id: req_… header")
    problems += [f"no {name} header" for name in expect.get("headers", []) if name not in answer.headers]
    if answer.status == 204:
        return problems
    if not answer.headers.get("content-type", "").startswith("application/json"):
        problems.append(f"content-type {answer.headers.get('content-type')!r}")
    try:
        document = json.loads(answer.body)
    except ValueError:
        html = b"<html" in answer.body.lower() or b"<!doctype" in answer.body.lower()
        return [*problems, "HTML instead of JSON" if html else "body is not JSON"]
    if not isinstance(document, dict):
        return [*problems, "body is not a JSON object"]
    check = native_problems if path.startswith(NATIVE_PREFIX) else envelope_problems
    found, error = check(answer, document)
    problems += found
    if answer.status >= 400:
        want = expect.get("type", ERROR_TYPES.get(answer.status))
        if want and error.get("type") != want:
            problems.append(f"error type {error.get('type')!r}, want {want!r}")
        text = f"{error.get('message')} {error.get('param')}"
        problems += [
            f"error does not mention {word!r}" for word in expect.get("mentions", []) if not mentions(text, word)
        ]
    return problems


def mentions(text: str, word: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.IGNORECASE) is not None


def leak_problems(answer: Answer, values: dict[str, str]) -> list[str]:
    """No answer repeats a credential or shows a traceback."""
    secrets = {name: value for name, value in values.items() if name.startswith(("KEY", "ADMIN_")) and len(value) > 20}
    problems = [f"{name} is echoed" for name, value in secrets.items() if value.encode() in answer.body]
    if b"Traceback (most recent call last)" in answer.body:
        problems.append("traceback")
    return problems


def problems_of(row: dict, answer: Answer, values: dict[str, str], proxy: bool) -> list[str]:
    """Everything that is wrong with an answer, empty if nothing is."""
    statuses = row["expect_status"] if isinstance(row["expect_status"], list) else [row["expect_status"]]
    if answer.status not in statuses:
        words = {CLOSED: "closed without an answer", STILL_OPEN: "no answer, still open"}
        return [f"status {words.get(answer.status, answer.status)}, want {statuses}"]
    problems = leak_problems(answer, values)
    loose = row["expect"].get("loose") or (proxy and "request-id" not in answer.headers)
    if answer.status != CLOSED and not loose:
        problems += body_problems(row, row.get("path", "/api/v1/messages"), answer)
    return problems


# ---------------------------------------------------------------- the run


def load(file: Path, only: str) -> list[dict]:
    """Rows of the catalogue, each followed by its twin on the native lane where it has one."""
    rows = []
    for line in file.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        rows.append(row)
        if native := row.get("native"):
            twin = {**row, "name": f"{row['name']}@native", "path": row["path"].replace("/api/", NATIVE_PREFIX, 1)}
            if native is not True:
                twin["expect_status"] = native
                twin["expect"] = {"upstream_calls": 1 if native < 400 else 0}
            rows.append(twin)
    return [row for row in rows if re.search(only, row["name"])]


def read_values(arguments: argparse.Namespace) -> dict[str, str]:
    """The vars file, and what can be derived."""
    values = json.loads(arguments.vars.read_text(encoding="utf-8")) if arguments.vars else {}
    values.setdefault("HOST", urlsplit(arguments.base).netloc)
    if key := values.get("KEY"):
        values.setdefault("KEY20", key[:20])
        values.setdefault("KEY_UPPER", key.upper())
        values.setdefault("KEY_BADSUM", key[:-1] + ("0" if key[-1] != "0" else "1"))
    return values


def upstream_calls(values: dict[str, str]) -> int | None:
    """How many calls the upstream has had, or None when nobody counts."""
    if "UPSTREAM_COUNT_URL" not in values:
        return None
    with urllib.request.urlopen(values["UPSTREAM_COUNT_URL"], timeout=5) as answer:
        return int(answer.read())


def replay(row: dict, base: str, values: dict[str, str], proxy: bool, *, count: Callable[[], int | None]) -> list[str]:
    """Send one row; what is wrong with the answer and with the upstream's count."""
    expect = row["expect"]
    request = request_bytes(row, values)
    before = count()
    answer = exchange(base, request, expect.get("within_s", 20))
    problems = problems_of(row, answer, values, proxy)
    if before is not None and "upstream_calls" in expect:
        calls = (count() or 0) - before
        if calls != expect["upstream_calls"]:
            problems.append(f"{calls} upstream calls, want {expect['upstream_calls']}")
    return problems


def arguments_of(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Replay the catalogue against a gateway (details: the docstring).")
    parser.add_argument("--base", help="base URL of the gateway, e.g. http://127.0.0.1:8000")
    parser.add_argument("--vars", type=Path, help="JSON file with the values of the placeholders")
    parser.add_argument("--file", type=Path, default=Path(__file__).with_name("rows.jsonl"), help="the catalogue")
    parser.add_argument("--only", default="", metavar="REGEX", help="replay only rows whose name matches")
    parser.add_argument("--list", action="store_true", help="print the names and expected statuses, and stop")
    parser.add_argument("--proxy", action="store_true", help="a proxy stands in front of the gateway")
    arguments = parser.parse_args(argv)
    if not arguments.list and urlsplit(arguments.base or "").scheme != "http":
        parser.error("--base must be an http:// URL")
    return arguments


def main(argv: list[str] | None = None) -> int:
    arguments = arguments_of(argv)
    rows = load(arguments.file, arguments.only)
    if arguments.list:
        for row in rows:
            print(row["name"], row["expect_status"])
        return 0
    values = read_values(arguments)
    passed = failed = skipped = 0
    for row in rows:
        try:
            problems = replay(row, arguments.base, values, arguments.proxy, count=lambda: upstream_calls(values))
        except MissingPlaceholder as missing:
            skipped += 1
            print(f"SKIP {row['name']}: no value for {missing}")
            continue
        except OSError as error:
            problems = [f"no connection: {error}"]
        if problems:
            failed += 1
            print(f"FAIL {row['name']}: {'; '.join(problems)}")
        else:
            passed += 1
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    if failed:
        return 1
    return 0 if passed else 2


if __name__ == "__main__":
    sys.exit(main())
