"""An admin who opens pages, over HTTP as a browser does."""

import http.cookiejar
import re
import urllib.parse
import urllib.request

LOGIN = "/admin/login/"


class Admin:
    """The superuser that `furnish.py` makes."""

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
        """The text of a page. Raise HTTPError for anything but a 200."""
        request = urllib.request.Request(self._base + path, form, {"Referer": self._base + path})
        with self._browser.open(request, timeout=30) as answer:
            text: str = answer.read().decode()
        return text
