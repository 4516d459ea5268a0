"""A catalog of bad requests, replayed over real sockets: directly, and behind nginx."""

import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from keys.domain import raw_key
from keys.models import APIKey, Budget, ModelPrice
from tests.messages_api.intake.bad_inputs import replay
from tests.support.gateway import Gateway, GatewayServer, free_port, wait_until
from tests.support.missing import missing
from tests.upstream import ScriptedUpstream

ROWS = Path(__file__).parent / "bad_inputs" / "rows.jsonl"
NGINX = """
pid %(folder)s/pid;
master_process off;
events {}
http {
    access_log off;
    client_body_temp_path %(folder)s/body;
    proxy_temp_path %(folder)s/proxy;
    fastcgi_temp_path %(folder)s/fastcgi;
    uwsgi_temp_path %(folder)s/uwsgi;
    scgi_temp_path %(folder)s/scgi;
    client_header_timeout 10s;
    client_body_timeout 15s;
    client_max_body_size 33m;
    large_client_header_buffers 4 8k;
    server {
        listen 127.0.0.1:%(port)d;
        location / {
            proxy_pass http://127.0.0.1:%(gateway)d;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_buffering off;
            proxy_read_timeout 120s;
        }
    }
}
"""
MODEL, MODEL_UNPRICED = "claude-3-opus-20240229", "unpriced-model"

UNFINISHED = {"wire_slow_body", "wire_slow_headers", "wire_tls_on_plain"}

ALLOWED_IP = "203.0.113.7"


@pytest.fixture(scope="module")
def server(django_db_setup: None, static_files: None) -> Iterator[GatewayServer]:
    """A gateway with default settings except for a short body timeout."""
    with GatewayServer(CLIENT_BODY_TIMEOUT_S="3") as server:
        yield server


@pytest.fixture
def routed_gateway(transactional_db: None, server: GatewayServer, upstream: ScriptedUpstream, owner: User) -> Gateway:
    """A gateway with the routes of the catalog: two models and no `*`."""
    gateway = Gateway(server, upstream, owner)
    gateway.upstream_row.targets.all().delete()
    for name in (MODEL, MODEL_UNPRICED):
        gateway.add_route(name, gateway.upstream_row)
    ModelPrice.objects.create(model_pattern=MODEL, input_price=15_000_000, output_price=75_000_000)
    return gateway


def variables(gateway: Gateway) -> dict[str, str]:
    """Return a value for each placeholder of the catalog."""
    return {
        "KEY": gateway.raw_key,
        "KEY_UNKNOWN": raw_key.generate(),
        "KEY_REVOKED": issue(gateway, lambda key: key.revoke()),
        "KEY_DISABLED": issue(gateway, lambda key: key.disable()),
        "KEY_EXPIRED": issue(gateway, expire),
        "KEY_OWNER_INACTIVE": issue(gateway, deactivate_owner),
        "KEY_NO_MODEL": issue(gateway, allow_another_model),
        "KEY_IP_LOCKED": issue(gateway, allow_another_ip),
        "ALLOWED_IP": ALLOWED_IP,
        "KEY_BROKE": use_up(gateway, issue(gateway, allow_one_request)),
        "KEY_ONE_CENT": issue(gateway, allow_a_cent),
        "KEY_RATE0": use_up(gateway, issue(gateway, allow_a_token_per_minute)),
        "MODEL": MODEL,
        "MODEL_UNPRICED": MODEL_UNPRICED,
        "ADMIN_SESSION": "0123456789abcdefghijklmnopqrstuv",
    }


def issue(gateway: Gateway, spoil) -> str:
    key, raw = APIKey.objects.issue(name="spoiled", owner=gateway.owner)
    spoil(key)
    return raw


def expire(key: APIKey) -> None:
    key.expires_at = timezone.now() - timedelta(days=1)
    key.save()


def deactivate_owner(key: APIKey) -> None:
    key.owner = User.objects.create_user("gone", is_active=False)
    key.save()


def allow_another_model(key: APIKey) -> None:
    key.allowed_models = ["another-model"]
    key.save()


def allow_another_ip(key: APIKey) -> None:
    key.allowed_ips = [ALLOWED_IP]
    key.save()


def allow_a_token_per_minute(key: APIKey) -> None:
    key.tokens_per_minute = 1
    key.save()


def allow_one_request(key: APIKey) -> None:
    """Set a budget that covers one reservation, and after its settlement no second one."""
    Budget.objects.create(api_key=key, amount=1_500, period="total")


def allow_a_cent(key: APIKey) -> None:
    Budget.objects.create(api_key=key, amount=10_000, period="total")


def use_up(gateway: Gateway, raw: str) -> str:
    """Send a request of 21 tokens: at one token per minute a debt of 20 minutes, longer than any replay takes."""
    body = {"model": MODEL, "max_tokens": 16, "messages": [{"role": "user", "content": "hi"}]}
    # A gateway that was running before reads the new price when its cache expires.
    wait_until(lambda: gateway.post("/api/v1/messages", body, headers={"x-api-key": raw}).status == 200)
    return raw


def mismatches(gateway: Gateway, base: str, *, is_proxy: bool) -> list[str]:
    """Return the problems of all responses, row by row."""
    values = variables(gateway)
    values["HOST"] = base.removeprefix("http://")
    values["KEY20"], values["KEY_UPPER"] = gateway.raw_key[:20], gateway.raw_key.upper()
    values["KEY_BADSUM"] = gateway.raw_key[:-1] + ("0" if gateway.raw_key[-1] != "0" else "1")
    rows = replay.load(ROWS, "")
    unfinished = [row for row in rows if row["name"] in UNFINISHED]
    assert {row["name"] for row in unfinished} == UNFINISHED

    def received() -> int:
        return len(gateway.upstream.requests)

    def problems_of(row: dict[str, Any], count: Callable[[], int | None]) -> list[str]:
        return [f"{row['name']}: {each}" for each in replay.replay(row, base, values, is_proxy, count=count)]

    # Rows that wait for a timeout run in parallel to the others. If one reached the upstream, it would be counted
    # between two of the others.
    with ThreadPoolExecutor(len(unfinished)) as pool:
        waiting = [pool.submit(problems_of, row, lambda: None) for row in unfinished]
        found, between = [], -received()
        for row in (row for row in rows if row not in unfinished):
            between += received()
            found += problems_of(row, received)
            between -= received()
        found += [each for future in waiting for each in future.result()]
    unexpected = between + received()
    return [*found, f"{unexpected} unexpected upstream requests"] if unexpected else found


def test_every_row_gets_the_expected_response(routed_gateway: Gateway) -> None:
    assert mismatches(routed_gateway, routed_gateway.url, is_proxy=False) == []


def test_every_row_gets_the_expected_response_behind_nginx(routed_gateway: Gateway) -> None:
    with nginx_in_front_of(routed_gateway.port) as base:
        assert mismatches(routed_gateway, base, is_proxy=True) == []


@contextmanager
def nginx_in_front_of(port: int) -> Iterator[str]:
    """Run nginx as docs/operations.md sets it up, on a free port."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        missing("nginx is not installed")
    assert program is not None
    folder = Path(tempfile.mkdtemp(prefix="messages-gateway-nginx-"))
    own_port = free_port()
    (folder / "nginx.conf").write_text(NGINX % {"folder": folder, "port": own_port, "gateway": port})
    command = [program, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]
    with subprocess.Popen([*command, "-g", "daemon off;"], stderr=subprocess.DEVNULL) as server:
        wait_until(lambda: is_open(own_port))
        try:
            yield f"http://127.0.0.1:{own_port}"
        finally:
            server.terminate()
    shutil.rmtree(folder)


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
