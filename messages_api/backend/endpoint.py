"""Where an attempt goes, and how long it may take."""

import re
from dataclasses import dataclass

from messages_api.backend.protocol.profile import Profile

VERSION_SEGMENT = re.compile(r"/v\d+[a-z0-9]*$")


@dataclass(frozen=True, kw_only=True, slots=True)
class Timeouts:
    """Seconds, by our own monotonic clock: a client's timeouts are per read, so a byte a second never trips them."""

    connect_timeout_s: float = 5.0
    first_byte_timeout_s: float = 120.0
    idle_timeout_s: float = 90.0
    """Between two events. Bytes that make no event are no progress."""
    request_timeout_s: float = 600.0
    """Over all attempts of a call."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Endpoint:
    """An upstream as an attempt needs it. Equal endpoints share their connections."""

    name: str
    dialect: str
    base_url: str
    credential: str
    profile: Profile
    timeouts: Timeouts
    retry_on_timeout: bool = False
    """Whether a deadline that passed is worth another attempt, although the answer may have been billed."""
    continue_after_disconnect_s: float = 0.0
    """How long the rest of an answer is read after its caller has left, for the sake of its usage. 0: it is cut."""
    ca_file: str = ""
    """Certificate authorities to trust in place of the usual ones."""

    def url(self, path: str) -> str:
        """The address of `path` (such as `/messages`); `/v1` is added unless the base URL ends in a version."""
        base = self.base_url.rstrip("/")
        return base + path if VERSION_SEGMENT.search(base) else f"{base}/v1{path}"

    @property
    def identity(self) -> str:
        """What its health is known by. A changed address begins anew."""
        return f"{self.name}@{self.base_url}"

    def __repr__(self) -> str:
        return f"Endpoint({self.name})"


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """One choice of a route: an upstream and the model's name there."""

    endpoint: Endpoint
    model: str
