"""The destination of an attempt and its timeouts."""

import re
from dataclasses import dataclass, field

from lib.redaction import redact_upstream
from messages_api.backend.protocol.profile import Profile

VERSION_SEGMENT = re.compile(r"/v\d+[a-z0-9]*$")


@dataclass(frozen=True, kw_only=True, slots=True)
class Timeouts:
    """Timeouts in seconds, enforced by the gateway's own monotonic clock.

    The timeout of an HTTP library applies to each read, so one byte per second would never trip it.
    """

    connect_timeout_s: float = 5.0
    first_byte_timeout_s: float = 120.0
    idle_timeout_s: float = 90.0
    """Between two events. Bytes that complete no event do not count."""
    request_timeout_s: float = 600.0
    """Over all attempts of a request."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Endpoint:
    """The settings of an upstream that an attempt needs. Equal endpoints share their connections."""

    name: str
    dialect: str
    base_url: str
    credential: str
    profile: Profile
    timeouts: Timeouts
    retry_on_timeout: bool = False
    """Whether to retry after a timeout, although the upstream may have billed the response."""
    continue_after_disconnect_s: float = 0.0
    """How long to read the response for its usage after the client disconnected. 0: abort it."""
    ca_file: str = ""
    """Certificate authorities to trust instead of the default ones."""
    identity: str = field(init=False)
    """The name under which its health is recorded. It includes the base URL, so a new one starts healthy."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "identity", f"{self.name}@{self.base_url}")  # frozen

    def url(self, path: str) -> str:
        """Return the URL of `path` (such as `/messages`); `/v1` is added unless the base URL ends in a version."""
        base = self.base_url.rstrip("/")
        return base + path if VERSION_SEGMENT.search(base) else f"{base}/v1{path}"

    def redact(self, text: str) -> str:
        """Return a text of the upstream without its credential and URLs."""
        return redact_upstream(text, credential=self.credential, base_url=self.base_url)

    def __repr__(self) -> str:
        return f"Endpoint({self.name})"


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """One target of a route: an upstream and its name for the model."""

    endpoint: Endpoint
    model: str
