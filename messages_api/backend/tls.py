"""TLS settings of connections to upstreams. Certificates and host names are always verified."""

import os
import ssl
from functools import lru_cache

from requests.utils import DEFAULT_CA_BUNDLE_PATH


def tls_context(ca_file: str) -> ssl.SSLContext:
    """Return the context that trusts the authorities of a file or folder; those of `requests` if it is empty.

    A file that was replaced is read again. Raise OSError (also as ssl.SSLError) if it cannot be read.
    """
    path = ca_file or DEFAULT_CA_BUNDLE_PATH
    status = os.stat(path)
    return _context(path, status.st_mtime_ns, status.st_ino, status.st_size)


@lru_cache(maxsize=8)
def _context(path: str, *_version: int) -> ssl.SSLContext:
    is_folder = os.path.isdir(path)
    context = ssl.create_default_context(cafile=None if is_folder else path, capath=path if is_folder else None)
    context.hostname_checks_common_name = False
    context.set_alpn_protocols(["http/1.1"])
    return context
