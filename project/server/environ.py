"""WSGI environ of plain requests, as gunicorn makes it."""

from types import SimpleNamespace
from typing import Any

from gunicorn.http.errors import ConfigurationProblem
from gunicorn.http.wsgi import base_environ, create

from project.server.plain_requests import PlainRequest


def constant_part(cfg: Any) -> dict[str, Any]:
    """Return what all requests of a worker have in common."""
    constants = {"wsgi.multithread": True, "wsgi.url_scheme": "http", "SCRIPT_NAME": "", "SERVER_PROTOCOL": "HTTP/1.1"}
    return {**base_environ(cfg), **constants}


def of(request: PlainRequest, connection: Any, listener_name: Any, peer: Any) -> dict[str, Any]:
    """Return the part of one request. The names of sockets are tuples, or texts of Unix sockets."""
    environ: dict[str, Any] = {
        **request.fields,
        "wsgi.input": request.body,
        "gunicorn.socket": connection,
        "REQUEST_METHOD": request.method,
        "QUERY_STRING": request.query,
        "RAW_URI": request.uri,
        "PATH_INFO": request.path_info,
    }
    if isinstance(peer, tuple):
        environ["REMOTE_ADDR"], environ["REMOTE_PORT"] = peer[0], str(peer[1])
    else:
        environ["REMOTE_ADDR"] = peer.decode() if isinstance(peer, bytes) else peer
    if isinstance(listener_name, str):
        name, _, port = request.fields.get("HTTP_HOST", listener_name).partition(":")
        listener_name = name, port or ("80" if "HTTP_HOST" in request.fields else "")
    environ["SERVER_NAME"], environ["SERVER_PORT"] = listener_name[0], str(listener_name[1])
    return environ


def is_mounted(cfg: Any) -> bool:
    """Return whether gunicorn serves the application below a prefix (the variable SCRIPT_NAME)."""
    request = SimpleNamespace(
        path="", headers=[], scheme="http", version=(1, 1), method="GET", query="", uri="", body=None,
        proxy_protocol_info=None, _expected_100_continue=False,
    )  # fmt: skip
    try:
        create(request, None, "", ("", 0), cfg)
    except ConfigurationProblem:  # the path does not begin with the prefix
        return True
    return False
