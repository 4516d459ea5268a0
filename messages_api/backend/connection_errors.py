"""Reasons of failed connections, by the classes and codes of the errors that requests and urllib3 raise."""

import errno
import http.client
import socket
import ssl
from collections.abc import Iterator

from lib import failure_reasons as reasons

EXPIRED, NOT_YET_VALID = 10, 9
WRONG_HOST = {62, 64}
"""Verification errors of OpenSSL (x509_vfy.h): host name and IP address."""
UNREACHABLE = {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTDOWN}


def connection_reason(error: BaseException) -> str:
    """Return the reason why a connection failed, from the innermost error that shows it."""
    found = [reason for each in _chain(error) if (reason := _reason(each))]
    return found[-1] if found else reasons.CONNECTION_FAILED


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _reason(error: BaseException) -> str:
    if isinstance(error, ssl.SSLError):
        return _tls_reason(error)
    if isinstance(error, (socket.gaierror, UnicodeError)):
        return reasons.HOST_NOT_FOUND
    if isinstance(error, ConnectionRefusedError):
        return reasons.CONNECTION_REFUSED
    if isinstance(error, (ConnectionError, EOFError)):
        return reasons.CONNECTION_RESET
    if isinstance(error, OSError) and error.errno in UNREACHABLE:
        return reasons.HOST_UNREACHABLE
    if isinstance(error, http.client.HTTPException):
        return reasons.RESPONSE_INVALID
    return reasons.CONNECT_TIMEOUT if isinstance(error, TimeoutError) else ""


def _tls_reason(error: ssl.SSLError) -> str:
    if not isinstance(error, ssl.SSLCertVerificationError):
        return reasons.TLS_FAILED
    known = {EXPIRED: reasons.TLS_EXPIRED, NOT_YET_VALID: reasons.TLS_NOT_YET_VALID}
    if error.verify_code in WRONG_HOST:
        return reasons.TLS_WRONG_HOST
    return known.get(error.verify_code, reasons.TLS_UNTRUSTED)
