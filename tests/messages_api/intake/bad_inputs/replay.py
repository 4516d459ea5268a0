"""Replay a catalog of requests against a running gateway and check every response.

    python -m tests.messages_api.intake.bad_inputs.replay --base http://127.0.0.1:8000 --vars vars.json
    python -m tests.messages_api.intake.bad_inputs.replay --base http://127.0.0.1:8000 --vars vars.json --only '^json_'
    python -m tests.messages_api.intake.bad_inputs.replay --list

Exit status: 0 all rows that ran passed, 1 at least one mismatch, 2 nothing could run.

The gateway under test has upstreams that respond with 200 to everything, and routes for two models only (no `*`:
unknown models have to be unknown). Run it over plain HTTP, directly or, with --proxy, behind a proxy.

The vars file is one JSON object, placeholder name to text. A row whose placeholder is missing is skipped.

    KEY                 a live key without limits, allowed every model
    KEY_UNKNOWN         well formed, valid checksum, never issued
    KEY_REVOKED, KEY_EXPIRED, KEY_DISABLED, KEY_OWNER_INACTIVE
                        keys that are not usable any more
    KEY_IP_LOCKED       allowed from ALLOWED_IP only, which is not the IP address of this program
    ALLOWED_IP          an IP address, e.g. 192.0.2.7
    KEY_NO_MODEL        may not use MODEL
    KEY_BROKE           budget spent
    KEY_ONE_CENT        0.01 USD remain; 64,000 output tokens of MODEL cost more
    KEY_RATE0           request limit used up
    MODEL               a routed model with a price
    MODEL_UNPRICED      a routed model without one
    ADMIN_SESSION       the session cookie of a logged-in admin
    UPSTREAM_COUNT_URL  optional: responds, as plain text, with the number of requests that the upstream has received;
                        without it that number is not checked

KEY20, KEY_UPPER, KEY_BADSUM and HOST are derived from KEY and --base unless they are given.

A row of the catalog:

    name, method, path, headers, body   the request; a body object is sent as JSON, a body text byte for byte
                                        (latin-1, so any byte can be written)
    raw                                 instead of method, path and headers: the request as it is sent over the
                                        wire; {{BODY}} and {{LENGTH}} are the body and its length
    expect_status                       one status or a list; 0 = closed without a response
    expect.type                         the error type; without it, the type of the status
    expect.mentions                     words that error.message or error.param must contain
    expect.headers                      response headers that must be present
    expect.upstream_requests            number of requests that the upstream receives
    expect.within_s                     the response, or the close, comes within so many seconds (default 20)
    expect.loose                        a server in front may respond first: only status, upstream requests and
                                        leaks are checked (so with --proxy for every response without a request-id
                                        header: it counts as the proxy's own)
    expect.note                         for the reader
    anthropic                           true: the row is replayed on the Anthropic API too (NAME@anthropic), with
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

ANTHROPIC_PREFIX = "/api/anthropic/"
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
class Response:
    """A received response. Without one its status is CLOSED or STILL_OPEN."""

    status: int
    headers: dict[str, str]
    body: bytes


# ---- requests


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
    """Return the request of a row as it is sent over the wire."""
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


# ---- responses


class Recorded(io.BytesIO):
    """Received bytes with the interface that http.client expects of a socket."""

    def makefile(self, *_args) -> "Recorded":
        return self


def parse(received: bytes, closed: bool) -> Response | None:
    """Return the first final response in `received`, or None while it is incomplete."""
    if b"\r\n\r\n" not in received:
        return None
    reader = http.client.HTTPResponse(Recorded(received))  # type: ignore[arg-type]
    try:
        reader.begin()
        if reader.length is None and not reader.chunked and not closed:
            return None
        body = reader.read()
    except (http.client.HTTPException, OSError, ValueError):
        return None
    headers = {name.lower(): value for name, value in reader.getheaders()}
    return Response(reader.status, headers, body)


def exchange(base: str, request: bytes, seconds: float) -> Response:
    """Send a request and wait for the response. Read while sending: an early rejection must not be lost."""
    url = urlsplit(base)
    received, unsent = bytearray(), memoryview(request)
    deadline = time.monotonic() + seconds
    with socket.create_connection((url.hostname, url.port or 80), timeout=5) as sock:
        sock.setblocking(False)
        while (remaining_s := deadline - time.monotonic()) > 0:
            readable, writable, _ = select.select([sock], [sock] if unsent else [], [], remaining_s)
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
                response = parse(bytes(received), closed=not data)
                if response or not data:
                    return response or Response(CLOSED, {}, bytes(received))
    return Response(STILL_OPEN, {}, bytes(received))


# ---- checks


def object_in(parent: dict, name: str) -> dict:
    """Return the object under a name, or an empty one."""
    value = parent.get(name)
    return value if isinstance(value, dict) else {}


def envelope_problems(response: Response, document: dict) -> tuple[list[str], dict]:
    """Check the envelope. Return the problems and the error object."""
    if set(document) != {"success", "code", "message", "data"}:
        return [f"keys {sorted(document)}, want success, code, message, data"], {}
    problems = []
    failed = response.status >= 400
    if document["code"] != str(response.status):
        problems.append(f"code {document['code']!r}, want {str(response.status)!r}")
    if document["success"] is not (not failed):
        problems.append(f"success {document['success']!r} with status {response.status}")
    if not isinstance(document["message"], str) or not document["message"]:
        problems.append("message is not a string")
    data = document["data"] if isinstance(document["data"], dict) else {}
    if not failed:
        return problems + [f"data lacks {key}" for key in ("choices", "usage") if not data.get(key)], {}
    error = object_in(data, "error")
    if set(error) != {"type", "message", "param"}:
        problems.append(f"data.error has {sorted(error)}, want message, param, type")
    return problems + request_id_problems(response, data), error


def anthropic_problems(response: Response, document: dict) -> tuple[list[str], dict]:
    """Check Anthropic's own format. Return the problems and the error object."""
    want = "error" if response.status >= 400 else "message"
    problems = [] if document.get("type") == want else [f"type {document.get('type')!r}, want {want!r}"]
    if response.status < 400:
        return problems, {}
    error = object_in(document, "error")
    return problems + request_id_problems(response, document), error


def request_id_problems(response: Response, parent: dict) -> list[str]:
    header, body = response.headers.get("request-id"), parent.get("request_id")
    return [] if header == body else [f"request_id {body!r} in the body, {header!r} in the header"]


def body_problems(row: dict, path: str, response: Response) -> list[str]:
    """Check headers, format and error of a response of the gateway itself."""
    expect, problems = row["expect"], []
    if not response.headers.get("request-id", "").startswith("req_"):
        problems.append("no request-id: req_… header")
    problems += [f"no {name} header" for name in expect.get("headers", []) if name not in response.headers]
    if response.status == 204:
        return problems
    if not response.headers.get("content-type", "").startswith("application/json"):
        problems.append(f"content-type {response.headers.get('content-type')!r}")
    try:
        document = json.loads(response.body)
    except ValueError:
        html = b"<html" in response.body.lower() or b"<!doctype" in response.body.lower()
        return [*problems, "HTML instead of JSON" if html else "body is not JSON"]
    if not isinstance(document, dict):
        return [*problems, "body is not a JSON object"]
    check = anthropic_problems if path.startswith(ANTHROPIC_PREFIX) else envelope_problems
    found, error = check(response, document)
    problems += found
    if response.status >= 400:
        want = expect.get("type", ERROR_TYPES.get(response.status))
        if want and error.get("type") != want:
            problems.append(f"error type {error.get('type')!r}, want {want!r}")
        text = f"{error.get('message')} {error.get('param')}"
        problems += [
            f"error does not mention {word!r}" for word in expect.get("mentions", []) if not mentions(text, word)
        ]
    return problems


def mentions(text: str, word: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.IGNORECASE) is not None


def leak_problems(response: Response, values: dict[str, str]) -> list[str]:
    """Check that the response has no credential and no traceback."""
    secrets = {name: value for name, value in values.items() if name.startswith(("KEY", "ADMIN_")) and len(value) > 20}
    problems = [f"{name} is repeated" for name, value in secrets.items() if value.encode() in response.body]
    if b"Traceback (most recent call last)" in response.body:
        problems.append("traceback")
    return problems


def problems_of(row: dict, response: Response, values: dict[str, str], proxy: bool) -> list[str]:
    """Return all problems of a response."""
    statuses = row["expect_status"] if isinstance(row["expect_status"], list) else [row["expect_status"]]
    if response.status not in statuses:
        labels = {CLOSED: "closed without a response", STILL_OPEN: "no response, still open"}
        return [f"status {labels.get(response.status, response.status)}, want {statuses}"]
    problems = leak_problems(response, values)
    loose = row["expect"].get("loose") or (proxy and "request-id" not in response.headers)
    if response.status != CLOSED and not loose:
        problems += body_problems(row, row.get("path", "/api/v1/messages"), response)
    return problems


# ---- the run


def load(file: Path, only: str) -> list[dict]:
    """Return the rows, each followed by its twin on the Anthropic API where it has one."""
    rows = []
    for line in file.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        rows.append(row)
        if anthropic := row.get("anthropic"):
            twin = {
                **row,
                "name": f"{row['name']}@anthropic",
                "path": row["path"].replace("/api/", ANTHROPIC_PREFIX, 1),
            }
            if anthropic is not True:
                twin["expect_status"] = anthropic
                twin["expect"] = {"upstream_requests": 1 if anthropic < 400 else 0}
            rows.append(twin)
    return [row for row in rows if re.search(only, row["name"])]


def read_values(arguments: argparse.Namespace) -> dict[str, str]:
    """Return the values of the vars file and the derived ones."""
    values = json.loads(arguments.vars.read_text(encoding="utf-8")) if arguments.vars else {}
    values.setdefault("HOST", urlsplit(arguments.base).netloc)
    if key := values.get("KEY"):
        values.setdefault("KEY20", key[:20])
        values.setdefault("KEY_UPPER", key.upper())
        values.setdefault("KEY_BADSUM", key[:-1] + ("0" if key[-1] != "0" else "1"))
    return values


def upstream_requests(values: dict[str, str]) -> int | None:
    """Return the number of requests that the upstream has received, or None if it is unknown."""
    if "UPSTREAM_COUNT_URL" not in values:
        return None
    with urllib.request.urlopen(values["UPSTREAM_COUNT_URL"], timeout=5) as response:
        return int(response.read())


def replay(row: dict, base: str, values: dict[str, str], proxy: bool, *, count: Callable[[], int | None]) -> list[str]:
    """Send one row. Return the problems of the response and of the upstream's count."""
    expect = row["expect"]
    request = request_bytes(row, values)
    before = count()
    response = exchange(base, request, expect.get("within_s", 20))
    problems = problems_of(row, response, values, proxy)
    if before is not None and "upstream_requests" in expect:
        requests = (count() or 0) - before
        if requests != expect["upstream_requests"]:
            problems.append(f"{requests} upstream requests, want {expect['upstream_requests']}")
    return problems


def arguments_of(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Replay the catalog against a gateway (details: the docstring).")
    parser.add_argument("--base", help="base URL of the gateway, e.g. http://127.0.0.1:8000")
    parser.add_argument("--vars", type=Path, help="JSON file with the values of the placeholders")
    parser.add_argument("--file", type=Path, default=Path(__file__).with_name("rows.jsonl"), help="the catalog")
    parser.add_argument("--only", default="", metavar="REGEX", help="replay only rows whose name matches")
    parser.add_argument("--list", action="store_true", help="print the names and expected statuses, and stop")
    parser.add_argument("--proxy", action="store_true", help="the gateway is behind a proxy")
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
            problems = replay(row, arguments.base, values, arguments.proxy, count=lambda: upstream_requests(values))
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
