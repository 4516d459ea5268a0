"""Plan of a request: how the lean upstream must respond. The prompt carries it, so the upstream keeps no state."""

import json
from dataclasses import asdict, dataclass
from typing import Any, Self


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestPlan:
    """One request and its response. A plain response takes as long as a stream of the same plan."""

    id: str
    events: int = 3
    every_s: float = 0.0
    first_event_after_s: float = 0.0
    """The delay before the first event."""
    characters: int = 5
    """The length of each event's text."""
    streamed: bool = True
    poison: str = ""
    """A path into the upstream's response, and the value to put there, as JSON: a value of a wrong type."""

    @property
    def duration_s(self) -> float:
        return self.first_event_after_s + self.events * self.every_s

    def body(self, *, model: str = "soak") -> bytes:
        """Return the request body that carries the plan."""
        request: dict[str, Any] = {"model": model, "max_tokens": 100_000, "stream": self.streamed}
        request["messages"] = [{"role": "user", "content": json.dumps(asdict(self))}]
        return json.dumps(request).encode()

    @classmethod
    def of(cls, body: dict[str, Any]) -> Self:
        """Return the plan in a Chat Completions request."""
        return cls(**json.loads(body["messages"][-1]["content"]))
