"""Run the scripted upstream by itself: `python -m tests.upstream --port 9000`."""

import argparse
import logging
import signal
import sys

from .proxy import FaultProxy
from .scenario import PREFIX
from .scenarios import SCENARIOS
from .server import ScriptedUpstream

_ENDINGS = {signal.SIGINT, signal.SIGTERM}


def main() -> None:
    options = _options()
    if options.list:
        for name, scenario in SCENARIOS.items():
            sys.stdout.write(f"{PREFIX + name:<32} {scenario.fault:<4} {scenario.title}\n")
        return
    # Before any thread starts: a signal that is not blocked in all of them never reaches sigwait.
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDINGS)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stdout)
    with ScriptedUpstream(port=options.port, host=options.host) as upstream:
        sys.stdout.write(f"Listening on {upstream.url}/v1; --list names the scenarios.\n")
        if options.proxy_port is None:
            _until_interrupted()
            return
        with FaultProxy((options.host, upstream.port), port=options.proxy_port, host=options.host) as proxy:
            proxy.towards_caller.latency_s = options.latency_ms / 1000
            proxy.towards_caller.bytes_per_s = options.bytes_per_s
            proxy.towards_caller.slice_bytes = options.slice_bytes
            proxy.towards_caller.reset_after_bytes = options.reset_after_bytes
            sys.stdout.write(f"Through the fault proxy: {proxy.url}/v1\n")
            _until_interrupted()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.upstream", description=__doc__)
    parser.add_argument("--port", type=int, default=9000)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--list", action="store_true", help="print the scenarios and exit")
    parser.add_argument("--proxy-port", type=int, help="listen here too, through a fault proxy")
    parser.add_argument("--latency-ms", type=float, default=0.0)
    parser.add_argument("--bytes-per-s", type=float, default=0.0)
    parser.add_argument("--slice-bytes", type=int, default=0)
    parser.add_argument("--reset-after-bytes", type=int)
    return parser.parse_args()


def _until_interrupted() -> None:
    sys.stdout.flush()
    signal.sigwait(_ENDINGS)


if __name__ == "__main__":
    main()
