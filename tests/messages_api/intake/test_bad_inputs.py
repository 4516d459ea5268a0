"""The catalogue of bad requests, replayed over real sockets: directly, and behind nginx."""

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
from tests.conftest import missing
from tests.messages_api.intake.bad_inputs import replay
from tests.support.gateway import Gateway, GatewayServer, free_port, wait_until
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
def patient_server(django_db_setup: None, static_files: None) -> Iterator[GatewayServer]:
    """As it ships, but for the time that it gives a slow body."""
    with GatewayServer(CLIENT_BODY_TIMEOUT_S="3") as server:
        yield server


@pytest.fixture
def catalogue_gateway(
    transactional_db: None, patient_server: GatewayServer, upstream: ScriptedUpstream, owner: User
) -> Gateway:
    """Two routed models and no `*`, as the catalogue wants it."""
    gateway = Gateway(patient_server, upstream, owner)
    gateway.upstream_row.targets.all().delete()
    for name in (MODEL, MODEL_UNPRICED):
        gateway.add_route(name, gateway.upstream_row)
    ModelPrice.objects.create(model_pattern=MODEL, input_price=15_000_000, output_price=75_000_000)
    return gateway


def variables(gateway: Gateway) -> dict[str, str]:
    """A value for each placeholder of the catalogue."""
    return {
        "KEY": gateway.raw_key,
        "KEY_UNKNOWN": raw_key.generate(),
        "KEY_REVOKED": issue(gateway, lambda key: key.revoke()),
        "KEY_DISABLED": issue(gateway, lambda key: key.disable()),
        "KEY_EXPIRED": issue(gateway, expire),
        "KEY_OWNER_INACTIVE": issue(gateway, deactivate_owner),
        "KEY_NO_MODEL": issue(gateway, allow_another_model),
        "KEY_IP_LOCKED": issue(gateway, allow_another_address),
        "ALLOWED_IP": ALLOWED_IP,
        "KEY_BROKE": use_up(gateway, issue(gateway, allow_one_call)),
        "KEY_ONE_CENT": issue(gateway, allow_a_cent),
        "KEY_RATE0": use_up(gateway, issue(gateway, allow_a_token_a_minute)),
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


def allow_another_address(key: APIKey) -> None:
    key.allowed_ips = [ALLOWED_IP]
    key.save()


def allow_a_token_a_minute(key: APIKey) -> None:
    key.tokens_per_minute = 1
    key.save()


def allow_one_call(key: APIKey) -> None:
    """Its call holds less than that, and leaves less than another one would hold."""
    Budget.objects.create(api_key=key, amount=1_500, period="total")


def allow_a_cent(key: APIKey) -> None:
    Budget.objects.create(api_key=key, amount=10_000, period="total")


def use_up(gateway: Gateway, raw: str) -> str:
    """A call of 21 tokens: for a limit of one a minute a debt of 20 minutes, which is longer than any replay takes."""
    body = {"model": MODEL, "max_tokens": 16, "messages": [{"role": "user", "content": "hi"}]}
    # A gateway that ran before learns of the price within the life of its list.
    wait_until(lambda: gateway.post("/api/v1/messages", body, headers={"x-api-key": raw}).status == 200)
    return raw


def mismatches(gateway: Gateway, base: str, *, is_proxy: bool) -> list[str]:
    """What is wrong with the answers, row by row."""
    values = variables(gateway)
    values["HOST"] = base.removeprefix("http://")
    values["KEY20"], values["KEY_UPPER"] = gateway.raw_key[:20], gateway.raw_key.upper()
    values["KEY_BADSUM"] = gateway.raw_key[:-1] + ("0" if gateway.raw_key[-1] != "0" else "1")
    rows = replay.load(ROWS, "")
    unfinished = [row for row in rows if row["name"] in UNFINISHED]
    assert {row["name"] for row in unfinished} == UNFINISHED

    def calls() -> int:
        return len(gateway.upstream.requests)

    def problems_of(row: dict[str, Any], count: Callable[[], int | None]) -> list[str]:
        return [f"{row['name']}: {each}" for each in replay.replay(row, base, values, is_proxy, count=count)]

    # What never comes to its end is waited for beside the others: a call of its own would be one between theirs.
    with ThreadPoolExecutor(len(unfinished)) as beside:
        waited_for = [beside.submit(problems_of, row, lambda: None) for row in unfinished]
        found, between = [], -calls()
        for row in (row for row in rows if row not in unfinished):
            between += calls()
            found += problems_of(row, calls)
            between -= calls()
        found += [each for waiting in waited_for for each in waiting.result()]
    return [*found, f"{between + calls()} upstream calls for nothing"] if between + calls() else found


def test_every_row_of_the_catalogue_gets_the_answer_it_must_get(catalogue_gateway: Gateway) -> None:
    assert mismatches(catalogue_gateway, catalogue_gateway.url, is_proxy=False) == []


def test_so_it_does_behind_nginx(catalogue_gateway: Gateway) -> None:
    with nginx_in_front_of(catalogue_gateway.port) as base:
        assert mismatches(catalogue_gateway, base, is_proxy=True) == []


@contextmanager
def nginx_in_front_of(port: int) -> Iterator[str]:
    """nginx as docs/operations.md sets it up, on a free port."""
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
