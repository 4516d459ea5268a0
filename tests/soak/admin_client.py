"""HTTP client of an admin."""

import http.cookiejar
import re
import urllib.parse
import urllib.request

LOGIN = "/admin/login/"


class AdminClient:
    """The superuser that `seed.py` creates."""

    def __init__(self, port: int) -> None:
        self._base = f"http://127.0.0.1:{port}"
        cookies = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        self._browser = urllib.request.build_opener(cookies)

    def sign_in(self) -> None:
        (token,) = re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', self.open(LOGIN))
        form = {
            "csrfmiddlewaretoken": token,
            "username": "soak",
            "password": "a good password of the soak",
            "next": "/admin/",
        }
        self.open(LOGIN, urllib.parse.urlencode(form).encode())

    def open(self, path: str, form: bytes | None = None) -> str:
        """Return the text of a page. Raise HTTPError unless the status is 200."""
        request = urllib.request.Request(self._base + path, form, {"Referer": self._base + path})
        with self._browser.open(request, timeout=30) as response:
            text: str = response.read().decode()
        return text
