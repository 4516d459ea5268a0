"""Passwords are hashed like Django does, but outside the event loop."""

import http.client
import re
import threading
import urllib.parse
from contextlib import closing

from django.contrib.auth.hashers import PBKDF2PasswordHasher, check_password, make_password

from staff.password_hashers import ThreadedPBKDF2Hasher
from tests.support.gateway import Gateway

LOGIN = "/admin/login/"


class Visitor:
    """A client at the login of a running gateway."""

    def __init__(self, port: int) -> None:
        self._http = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._http.request("GET", LOGIN)
        page = self._http.getresponse()
        token = re.search(r'csrfmiddlewaretoken" value="([^"]+)', page.read().decode())
        self._token = token[1] if token else ""
        self._cookie = (page.getheader("set-cookie") or "").split(";")[0]

    def tries(self, username: str) -> int:
        fields = {"username": username, "password": "wrong", "csrfmiddlewaretoken": self._token}
        headers = {"Cookie": self._cookie, "Content-Type": "application/x-www-form-urlencoded"}
        self._http.request("POST", LOGIN, urllib.parse.urlencode(fields), headers)
        answer = self._http.getresponse()
        answer.read()
        return answer.status

    def close(self) -> None:
        self._http.close()


def test_the_hash_is_the_same_as_djangos() -> None:
    ours, theirs = ThreadedPBKDF2Hasher(), PBKDF2PasswordHasher()

    assert ours.encode("a password", "salt", 1000) == theirs.encode("a password", "salt", 1000)
    assert ours.algorithm == theirs.algorithm and ours.iterations == theirs.iterations
    assert check_password("a password", make_password("a password"))


def test_other_requests_are_served_while_a_password_is_hashed(gateway: Gateway) -> None:
    visitor, statuses = Visitor(gateway.port), list[int]()
    logins = threading.Thread(target=lambda: statuses.extend(visitor.tries(f"name {i}") for i in range(3)))
    health = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=60)

    with closing(visitor), closing(health):
        logins.start()
        answered = 0
        while logins.is_alive():
            health.request("GET", "/livez")
            answered += health.getresponse().read() is not None
        logins.join()

    # Each hash takes 0.3 s or more. If it blocked the worker, it would serve only a few requests in between.
    assert statuses == [200, 200, 200]
    assert answered > 50
