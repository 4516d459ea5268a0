"""Credentials never reach a log line or an error message."""

import logging

import pytest

from keys.domain import raw_key
from lib.redaction import MASK, RedactingFilter, find_raw_key, redact, redact_upstream

RAW = raw_key.generate()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(f"key {RAW} is expired", f"key {MASK} is expired", id="raw key"),
        pytest.param(f"key {RAW[:20]}", f"key {MASK}", id="part of a raw key"),
        pytest.param("key mgw_ab12cd", "key mgw_ab12cd", id="hint"),
        pytest.param("Bearer abc.def", MASK, id="bearer"),
        pytest.param("Authorization: Bearer abc.def, x", f"Authorization: {MASK}, x", id="authorization, bearer"),
        pytest.param("{'authorization': 'Basic123'}", f"{{'{MASK}'}}", id="authorization, other"),
        pytest.param("X-API-Key=abc; next", f"{MASK}; next", id="x-api-key"),
        pytest.param("Incorrect API key provided: sk-proj-1234", f"Incorrect API key provided: {MASK}", id="sk-"),
        pytest.param("a task-oriented model", "a task-oriented model", id="ordinary words"),
        pytest.param("x-api-key header is required", "x-api-key header is required", id="name of a header"),
    ],
)
def test_credentials_are_masked(text: str, expected: str) -> None:
    assert redact(text) == expected


def test_the_shape_of_a_raw_key_is_that_of_issued_keys() -> None:
    assert find_raw_key(f" {RAW}\n") == RAW
    assert find_raw_key(raw_key.PREFIX + raw_key.hint(RAW)) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("Wrong key secret-1.", f"Wrong key {MASK}.", id="credential"),
        pytest.param("POST https://llm.local:8080/v1/x failed", f"POST {MASK} failed", id="URL"),
        pytest.param("LLM.local:8080 said no", f"{MASK} said no", id="host"),
        pytest.param("Bearer other", MASK, id="another credential"),
    ],
)
def test_the_upstream_is_masked(text: str, expected: str) -> None:
    assert redact_upstream(text, credential="secret-1", base_url="http://llm.local:8080/v1") == expected


def test_a_short_credential_masks_no_words() -> None:
    assert redact_upstream("an abc", credential="abc", base_url="") == "an abc"


def test_log_records_are_redacted_with_their_arguments() -> None:
    record = logging.LogRecord("x", logging.INFO, "f", 1, "key %s, x-api-key: sk-2", (RAW,), None)

    assert RedactingFilter().filter(record)

    assert record.getMessage() == f"key {MASK}, {MASK}"


def test_a_log_message_is_one_line() -> None:
    text = "The field a\r\n2026-01-01 INFO forged\0\x1b[2J\x85\u2028 is\tnot é"
    record = logging.LogRecord("x", logging.INFO, "f", 1, "%s", (text,), None)

    assert RedactingFilter().filter(record)

    assert record.getMessage() == r"The field a\r\n2026-01-01 INFO forged\x00\x1b[2J\x85\u2028 is" + "\tnot é"


def test_a_rejected_parameter_is_logged_without_a_traceback() -> None:
    error = ValueError("x")
    rejected, failed = (
        logging.LogRecord(name, logging.ERROR, "f", 1, "x", (), (ValueError, error, None))
        for name in ("django.security.DisallowedModelAdminToField", "django.request")
    )

    assert RedactingFilter().filter(rejected) and RedactingFilter().filter(failed)

    assert rejected.exc_info is None
    assert failed.exc_info is not None


@pytest.mark.parametrize(
    "mark", ["\u017fk-proj-1234 sk-proj-1234", "x-api-\u212aey: abc", "author\u0131zation: abc", "BEARER abc"]
)
def test_credentials_are_masked_in_any_case_and_beyond_ascii(mark: str) -> None:
    assert MASK in redact(mark)
