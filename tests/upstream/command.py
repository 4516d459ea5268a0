"""Command line of the scripted upstream."""

import argparse
import contextlib
import logging
import signal
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from lib.arguments import whole_number

from .certificate_kinds import KINDS
from .proxy import FaultProxy, Faults
from .scenario import PREFIX
from .scenarios import SCENARIOS
from .server import ScriptedUpstream

_STOP_SIGNALS = {signal.SIGINT, signal.SIGTERM}
_TOWARDS_UPSTREAM = "upstream-"
"""Prefix of the options for that direction."""

port_number = whole_number(0, 65_535)


class Output(Protocol):
    def write(self, text: str, /) -> object: ...

    def flush(self) -> object: ...


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--list", action="store_true", help="print the scenarios and exit")
    parser.add_argument("--port", type=port_number, default=9000, help="0 takes a free one (default: 9000)")
    parser.add_argument("--host", default="127.0.0.1", help="the IP address to listen on (default: 127.0.0.1)")
    kinds = "; ".join(f"{kind}: {title}" for kind, title in KINDS.items())
    parser.add_argument("--tls", choices=list(KINDS), metavar="KIND", help=f"use TLS with this certificate. {kinds}")
    parser.add_argument(
        "--ca-file", type=Path, help="write the authority of that certificate here, for UPSTREAM_CA_FILE"
    )
    proxy = parser.add_argument_group("fault proxy", "a second port that forwards to this one with faults")
    proxy.add_argument("--proxy-port", type=port_number, help="port of the proxy; required for the options below")
    _add_faults(proxy, "", "on the way back to the gateway")
    _add_faults(proxy, _TOWARDS_UPSTREAM, "on the way to the upstream")


def _add_faults(group: argparse._ArgumentGroup, prefix: str, where: str) -> None:
    group.add_argument(f"--{prefix}latency-ms", type=float, default=0.0, help=f"delay each piece {where}")
    group.add_argument(f"--{prefix}bytes-per-s", type=float, default=0.0, help=f"limit the bandwidth {where}")
    group.add_argument(f"--{prefix}slice-bytes", type=int, default=0, help=f"split the bytes into pieces {where}")
    group.add_argument(f"--{prefix}reset-after-bytes", type=int, help=f"send a RST after so many bytes {where}")
    group.add_argument(f"--{prefix}half-close-after-bytes", type=int, help=f"send a FIN after so many bytes {where}")
    group.add_argument(f"--{prefix}blackhole", action="store_true", help=f"pass no data {where}")


def run(options: argparse.Namespace, out: Output) -> None:
    """List the scenarios, or serve until SIGINT or SIGTERM and print a line for each completed request."""
    if options.list:
        for name, scenario in SCENARIOS.items():
            out.write(f"{PREFIX + name:<32} {scenario.fault:<4} {scenario.title}\n")
        return
    # Before any thread starts: sigwait needs the signals to be blocked in all threads.
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
    with (
        _requests_logged(out),
        ScriptedUpstream(port=options.port, host=options.host, tls=_tls(options)) as upstream,
        _proxy(options, upstream) as proxy,
    ):
        out.write(f"Listening on {upstream.url}/v1; --list names the scenarios.\n")
        if proxy is not None:
            scheme = "https" if options.tls else "http"
            out.write(f"Through the fault proxy: {scheme}://{options.host}:{proxy.port}/v1\n")
        out.flush()
        signal.sigwait(_STOP_SIGNALS)


@contextlib.contextmanager
def _requests_logged(out: Output) -> Iterator[None]:
    logger = logging.getLogger(__package__)
    handler = logging.StreamHandler(out)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def _tls(options: argparse.Namespace) -> ssl.SSLContext | None:
    if options.tls is None:
        return None
    from .certificates import Authority  # requires a package, which is needed for TLS only

    authority = Authority()
    if options.ca_file is not None:
        options.ca_file.write_text(authority.pem)
    return authority.context(options.tls)


@contextlib.contextmanager
def _proxy(options: argparse.Namespace, upstream: ScriptedUpstream) -> Iterator[FaultProxy | None]:
    if options.proxy_port is None:
        yield None
        return
    with FaultProxy((options.host, upstream.port), port=options.proxy_port, host=options.host) as proxy:
        _set(proxy.towards_client, options, "")
        _set(proxy.towards_upstream, options, _TOWARDS_UPSTREAM)
        yield proxy


def _set(faults: Faults, options: argparse.Namespace, prefix: str) -> None:
    def given(name: str) -> Any:
        return getattr(options, (prefix + name).replace("-", "_"))

    faults.latency_s = given("latency-ms") / 1000
    faults.bytes_per_s = given("bytes-per-s")
    faults.slice_bytes = given("slice-bytes")
    faults.reset_after_bytes = given("reset-after-bytes")
    faults.half_close_after_bytes = given("half-close-after-bytes")
    faults.blackhole = given("blackhole")
