"""A price update in a running gateway: the worker serves other requests meanwhile, and no process is left behind."""

import os
import re
import signal
import threading
from pathlib import Path

import pytest
import requests
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client

from tests.support.gateway import GatewayServer, wait_until

PAGE = "/admin/prices/update/"


@pytest.fixture
def session(transactional_db: None, gateway_server: GatewayServer) -> requests.Session:
    """A signed-in browser."""
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    session = requests.Session()
    session.cookies.set(settings.SESSION_COOKIE_NAME, client.cookies[settings.SESSION_COOKIE_NAME].value)
    return session


def children_of(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def test_a_worker_serves_other_requests_while_an_update_is_prepared(
    session: requests.Session, gateway_server: GatewayServer
) -> None:
    url = f"http://127.0.0.1:{gateway_server.port}"
    [worker] = gateway_server.worker_pids()
    found = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', session.get(url + PAGE).text)
    assert found is not None
    data = {"csrfmiddlewaretoken": found[1], "source": "catalog"}
    reviews: list[str] = []

    posting = threading.Thread(target=lambda: reviews.append(session.post(url + PAGE, data, timeout=90).text))
    posting.start()
    [command] = wait_until(lambda: children_of(worker))
    os.kill(command, signal.SIGSTOP)  # until another request is served
    try:
        assert requests.get(f"{url}/livez", timeout=30).status_code == 200
        assert children_of(worker) == [command] and reviews == []
    finally:
        os.kill(command, signal.SIGCONT)
    posting.join()

    assert "Nothing to do" in reviews[0]
    assert children_of(worker) == []
