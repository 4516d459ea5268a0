"""The OpenAPI document is complete, and the running gateway conforms to it."""

import json
import os
import re
import subprocess
import sys
from http import HTTPStatus
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from django.core.management import call_command
from django.test import Client, override_settings

from messages_api.backend.protocol.sse import Record, SSEParser
from messages_api.intake.body import DOCUMENTED, parse
from messages_api.openapi.bodies import EXAMPLES
from messages_api.openapi.description import document
from messages_api.openapi.errors import ERRORS
from messages_api.openapi.operations import OPERATIONS
from messages_api.openapi.responses import ERROR_TYPES, EVENTS
from tests.support import ROOT
from tests.support.gateway import Gateway

CHECKS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "missing_required_header",
    "unsupported_method",
    "allow_header_conformance",
    "ignored_auth",
]
OPTIONS = [
    "--phases=examples,coverage,fuzzing",
    f"--checks={','.join(CHECKS)}",
    "--generation-deterministic",
    "--generation-with-security-parameters=false",
    "--continue-on-failure",
    "--warnings=off",
    "--no-color",
]


@pytest.fixture(scope="module")
def description() -> Any:
    return json.loads(document())


def content(description: Any, path: str, method: str, status: str) -> Any:
    return description["paths"][path][method.lower()]["responses"][status]["content"]


def fits(value: object, schema: Any, description: Any) -> None:
    """Raise ValidationError for a value that a schema of the document does not allow."""
    jsonschema.Draft202012Validator({**schema, "components": description["components"]}).validate(value)


def records(stream: str) -> list[Record]:
    return SSEParser().feed(stream.encode())


# ---- completeness


def test_the_description_is_valid_and_raises_no_warning(tmp_path: Path) -> None:
    call_command("spectacular", "--validate", "--fail-on-warn", "--file", str(tmp_path / "schema.yml"))


def test_every_path_is_described_without_its_slash(description: Any) -> None:
    paths = {(path, method.upper()) for path, methods in description["paths"].items() for method in methods}

    assert paths == set(OPERATIONS)


def test_every_documented_field_is_described(description: Any) -> None:
    request = description["components"]["schemas"]["EnvelopeRequest"]

    assert set(request["properties"]) == DOCUMENTED
    assert all(field["description"] for field in request["properties"].values())
    assert request["required"] == ["model", "max_tokens", "messages"]
    assert request["additionalProperties"] is False


def test_every_documented_status_is_described() -> None:
    rows = re.findall(r"^\| ([\d, ]+) \| `(\w+)` \|", (ROOT / "docs/api.md").read_text(), flags=re.M)
    promised = {int(status): type for statuses, type in rows for status in statuses.split(", ")}

    assert promised.items() <= {status: error.type for status, error in ERRORS.items()}.items()
    assert {error.type for error in ERRORS.values()} == set(ERROR_TYPES)


@pytest.mark.parametrize("path", ["/api/v1/messages", "/api/anthropic/v1/messages"])
def test_a_message_request_may_have_every_error_status(description: Any, path: str) -> None:
    statuses = {HTTPStatus.OK, *ERRORS}

    assert set(description["paths"][path]["post"]["responses"]) == {str(int(status)) for status in statuses}


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_either_header_may_carry_the_key(description: Any, path: str, method: str) -> None:
    operation = description["paths"][path][method.lower()]

    schemes = [
        description["components"]["securitySchemes"][name] for either in operation["security"] for name in either
    ]
    assert [(scheme["type"], scheme.get("scheme") or scheme.get("name")) for scheme in schemes] == [
        ("http", "bearer"),
        ("apiKey", "x-api-key"),
    ]


# ---- examples


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_every_example_fits_its_schema(description: Any, path: str, method: str) -> None:
    operation = description["paths"][path][method.lower()]

    for response in [*operation["responses"].values(), operation.get("requestBody", {"content": {}})]:
        for body in response["content"].values():
            fits(body["example"], body["schema"], description)


def test_the_example_of_a_request_is_valid() -> None:
    assert parse(json.dumps(EXAMPLES).encode(), strict=True) == EXAMPLES


def test_the_chunks_of_the_example_fit_their_schema(description: Any) -> None:
    *chunks, end = records(content(description, "/api/v1/messages", "POST", "200")["text/event-stream"]["example"])

    assert len(chunks) == 4
    assert end.data == "[DONE]"
    for chunk in chunks:
        fits(json.loads(chunk.data), {"$ref": "#/components/schemas/Chunk"}, description)


def test_the_events_of_the_example_fit_their_schemas(description: Any) -> None:
    events = records(content(description, "/api/anthropic/v1/messages", "POST", "200")["text/event-stream"]["example"])

    assert {event.event for event in events} == set(EVENTS) - {"error"}
    for event in events:
        schema = EVENTS[str(event.event)][0]
        fits(json.loads(event.data), {"$ref": f"#/components/schemas/{schema}"}, description)


@pytest.mark.parametrize(
    ("path", "words"), [("/api/v1/messages", ["Chunk", "[DONE]"]), ("/api/anthropic/v1/messages", EVENTS)]
)
def test_a_stream_is_explained(description: Any, path: str, words: list[str]) -> None:
    text = content(description, path, "POST", "200")["text/event-stream"]["schema"]["description"]

    assert [word for word in words if word not in text] == []


# ---- the endpoints of the document


@pytest.mark.parametrize("path", ["/api/schema/", "/api/schema"])
@pytest.mark.parametrize("accept", ["*/*", "text/html"])
def test_the_document_needs_no_key(client: Client, path: str, accept: str) -> None:
    response = client.get(path, headers={"Accept": accept})

    assert (response.status_code, response.headers["Content-Type"]) == (200, "application/json")
    assert response.json()["openapi"] == "3.1.1"


@pytest.mark.parametrize("path", ["/api/docs/", "/api/docs", "/api/docs/?script="])
def test_the_page_needs_no_key_and_has_nothing_inline(client: Client, static_files: None, path: str) -> None:
    response = client.get(path)

    text = response.content.decode()
    assert response.status_code == 200
    assert "<style" not in text and not re.search(r"<script(?! src=)", text)
    assert not response.cookies


def test_the_policy_allows_data_urls_of_images_on_the_documentation_page_alone(
    client: Client, static_files: None, db: None
) -> None:
    docs = client.get("/api/docs/").headers["Content-Security-Policy"]
    login = client.get("/admin/login/").headers["Content-Security-Policy"]

    assert set(docs.split("; ")) - set(login.split("; ")) == {"img-src 'self' data:"}
    assert "unsafe" not in docs


@override_settings(SECURE_SSL_REDIRECT=True)
def test_the_documentation_page_is_served_over_tls_alone(client: Client) -> None:
    assert client.get("/api/docs/").headers["Location"] == "https://testserver/api/docs/"
    assert client.get("/api/schema/").status_code == 200


@pytest.mark.parametrize("path", ["/api/schema/", "/api/docs/"])
def test_other_methods_are_a_405_that_names_get(client: Client, path: str) -> None:
    response = client.post(path)

    assert (response.status_code, response.headers["Allow"]) == (405, "GET, HEAD")
    assert response.json()["message"] == "Method not allowed. Allowed: GET, HEAD."


# ---- conformance


@pytest.mark.timeout(1_800)
def test_the_running_gateway_conforms_to_the_document(gateway: Gateway, tmp_path: Path, at_length: bool) -> None:
    gateway.add_route("claude-3-opus-20240229", gateway.upstream_row)
    program = Path(sys.executable).with_name("schemathesis")
    key = f"Authorization: Bearer {gateway.raw_key}"
    examples = 150 if at_length else 15

    run = subprocess.run(
        [program, "run", f"{gateway.url}/api/schema/", "--header", key, *OPTIONS, f"--max-examples={examples}"],
        env={**os.environ, "SCHEMATHESIS_HOOKS": "tests.support.openapi_hooks", "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert run.returncode == 0, run.stdout + run.stderr
    assert f"Tested: {len(OPERATIONS)}" in run.stdout
