"""
Reasons of failed requests and attempts: a closed list of codes, and their labels. Pure.

Usage records and log lines state one of them. They never keep a text of an upstream, which may quote a prompt. A reason
is a code, or a code and a number, such as `first_byte_timeout:5`.
"""

from typing import NamedTuple

HOST_NOT_FOUND = "host_not_found"
CONNECTION_REFUSED = "connection_refused"
HOST_UNREACHABLE = "host_unreachable"
CONNECT_TIMEOUT = "connect_timeout"
CONNECTION_RESET = "connection_reset"
CONNECTION_FAILED = "connection_failed"
TLS_EXPIRED = "tls_certificate_expired"
TLS_NOT_YET_VALID = "tls_certificate_not_yet_valid"
TLS_WRONG_HOST = "tls_certificate_wrong_host"
TLS_UNTRUSTED = "tls_certificate_untrusted"
TLS_FAILED = "tls_failed"
FIRST_BYTE_TIMEOUT = "first_byte_timeout"
IDLE_TIMEOUT = "idle_timeout"
REQUEST_TIMEOUT = "request_timeout"
HTTP_STATUS = "http_status"
CREDENTIAL_REJECTED = "credential_rejected"
CREDIT_EXHAUSTED = "credit_exhausted"
CONTEXT_OVERFLOW = "context_overflow"
ERROR_IN_RESPONSE = "error_in_response"
GENERATION_FAILED = "generation_failed"
RESPONSE_CUT = "response_cut"
RESPONSE_NOT_JSON = "response_not_json"
RESPONSE_INVALID = "response_invalid"
RESPONSE_TOO_LARGE = "response_too_large"
REQUEST_UNSUPPORTED = "request_unsupported"
GATEWAY_RESTARTING = "gateway_restarting"
KEY_REVOKED = "key_revoked"
GATEWAY_DEFECT = "gateway_defect"


class Label(NamedTuple):
    """The texts of a code: without a number, and with one."""

    plain: str
    numbered: str = ""


LABELS = {
    HOST_NOT_FOUND: Label("Host name not found (DNS)"),
    CONNECTION_REFUSED: Label("Connection refused"),
    HOST_UNREACHABLE: Label("Host unreachable"),
    CONNECT_TIMEOUT: Label("Connection timed out", "Connection timed out after {} s"),
    CONNECTION_RESET: Label("Connection closed before the response"),
    CONNECTION_FAILED: Label("Connection failed"),
    TLS_EXPIRED: Label("TLS: certificate expired"),
    TLS_NOT_YET_VALID: Label("TLS: certificate not yet valid"),
    TLS_WRONG_HOST: Label("TLS: certificate of another host"),
    TLS_UNTRUSTED: Label("TLS: certificate not trusted"),
    TLS_FAILED: Label("TLS: handshake failed"),
    FIRST_BYTE_TIMEOUT: Label("No response in time", "No response within {} s"),
    IDLE_TIMEOUT: Label("Response stalled", "Response stalled for {} s"),
    REQUEST_TIMEOUT: Label("Request timed out", "Request timed out after {} s"),
    HTTP_STATUS: Label("Error of the upstream", "HTTP {} from the upstream"),
    CREDENTIAL_REJECTED: Label("Credential rejected", "Credential rejected: HTTP {} from the upstream"),
    CREDIT_EXHAUSTED: Label("Credit exhausted", "Credit exhausted: HTTP {} from the upstream"),
    CONTEXT_OVERFLOW: Label("Context window exceeded", "Context window exceeded: HTTP {} from the upstream"),
    ERROR_IN_RESPONSE: Label("Error inside the response", "Error {} inside the response"),
    GENERATION_FAILED: Label("Generation failed"),
    RESPONSE_CUT: Label("Response cut", "Stream cut after {} tokens"),
    RESPONSE_NOT_JSON: Label("Response is not JSON"),
    RESPONSE_INVALID: Label("Response invalid"),
    RESPONSE_TOO_LARGE: Label("Response too large"),
    REQUEST_UNSUPPORTED: Label("Request not supported by the upstream"),
    GATEWAY_RESTARTING: Label("Gateway restarted"),
    KEY_REVOKED: Label("API key revoked"),
    GATEWAY_DEFECT: Label("Defect of the gateway"),
}


def numbered(code: str, number: float) -> str:
    """Return the reason of a code and a number: seconds, an HTTP status, or tokens."""
    return f"{code}:{number:g}" if isinstance(number, float) else f"{code}:{number}"


def label(reason: str) -> str:
    """Return the label of a reason; empty for none, and a general text for one that is not in the list."""
    if not reason:
        return ""
    code, _, number = reason.partition(":")
    texts = LABELS.get(code)
    if texts is None:
        return "Unknown"
    if not number or not texts.numbered:
        return texts.plain
    # A status is below 1,000, so only tokens and seconds get a separator.
    return texts.numbered.format(f"{int(number):,}" if number.isdecimal() else number)
