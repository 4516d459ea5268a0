"""A browser without scripts at the login of a running gateway, over a connection of its own."""

import http.client
import re
import urllib.parse
from contextlib import suppress
from typing import Self

LOGIN = "/admin/login/"


class LoginPage:
    """The open login page, and the cookies of its browser."""

    def __init__(self, port: int) -> None:
        self._http = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self._cookies: dict[str, str] = {}
        self._token = ""
        self.get(LOGIN)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def log_in(self, username: str, password: str) -> int:
        """Submit the form. Return the status: 302 after a successful login."""
        return self.post(LOGIN, username=username, password=password)

    def get(self, path: str) -> int:
        """Open a page and return its status."""
        return self._request("GET", path, None)

    def post(self, path: str, **fields: str) -> int:
        """Submit a form with the token of the latest page. Return the status."""
        body = urllib.parse.urlencode({**fields, "csrfmiddlewaretoken": self._token})
        return self._request("POST", path, body)

    def _send(self, method: str, path: str, body: str | None, headers: dict[str, str]) -> http.client.HTTPResponse:
        with suppress(
            BrokenPipeError, ConnectionResetError
        ):  # perhaps after a response that does not wait for the body
            self._http.request(method, path, body, headers)
        return self._http.getresponse()

    def _request(self, method: str, path: str, body: str | None) -> int:
        cookies = "; ".join(f"{name}={value}" for name, value in self._cookies.items())
        headers = {"Cookie": cookies, "Content-Type": "application/x-www-form-urlencoded"}
        try:
            response = self._send(method, path, body, headers)
        except ConnectionError:  # closed since the last request, as an idle one
            self._http.close()
            response = self._send(method, path, body, headers)
        page = response.read().decode()
        for cookie in response.headers.get_all("set-cookie") or []:
            name, _, value = cookie.split(";")[0].partition("=")
            self._cookies[name] = value
        if token := re.search(r'csrfmiddlewaretoken" value="([^"]+)', page):
            self._token = token[1]
        return response.status
