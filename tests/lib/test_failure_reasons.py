"""Reasons of failures: a closed list with labels, which fit the column of the usage record."""

import re

import pytest

from keys.models import UsageRecord
from lib import failure_reasons as reasons
from tests.support import ROOT

CODES = {value for name, value in vars(reasons).items() if name.isupper() and isinstance(value, str)}


def test_every_code_has_a_label_and_fits_its_column() -> None:
    length = UsageRecord._meta.get_field("error_reason").max_length

    assert set(reasons.LABELS) == CODES
    assert max(len(reasons.numbered(code, 999_999_999)) for code in CODES) <= (length or 0)


def test_the_operators_documentation_has_every_code() -> None:
    section = (
        (ROOT / "docs" / "operations.md").read_text().partition("### Why a request failed")[2].partition("\n## ")[0]
    )
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]

    assert {code for row in rows for code in re.findall("`(\\w+)`", row)} == CODES


@pytest.mark.parametrize(
    ("reason", "label"),
    [
        ("connection_refused", "Connection refused"),
        ("host_not_found", "Host name not found (DNS)"),
        ("tls_certificate_expired", "TLS: certificate expired"),
        (reasons.numbered(reasons.CONNECT_TIMEOUT, 5.0), "Connection timed out after 5 s"),
        (reasons.numbered(reasons.FIRST_BYTE_TIMEOUT, 0.3), "No response within 0.3 s"),
        (reasons.numbered(reasons.HTTP_STATUS, 503), "HTTP 503 from the upstream"),
        (reasons.numbered(reasons.CREDENTIAL_REJECTED, 401), "Credential rejected: HTTP 401 from the upstream"),
        (reasons.numbered(reasons.RESPONSE_CUT, 1_204), "Stream cut after 1,204 tokens"),
        ("response_cut", "Response cut"),
        ("connection_refused:7", "Connection refused"),
        ("a text of an upstream", "Unknown"),
        ("", ""),
    ],
)
def test_labels(reason: str, label: str) -> None:
    assert reasons.label(reason) == label
