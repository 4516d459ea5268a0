"""What a caller wants to happen to its call. The prompt carries it to the lean upstream, which keeps no script."""

import json
from dataclasses import asdict, dataclass
from typing import Any, Self


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """One call, by its id. A plain call takes as long as a stream of the same order, and then answers at once."""

    id: str
    events: int = 3
    every_s: float = 0.0
    silent_s: float = 0.0
    """How long nothing comes before the first event."""
    characters: int = 5
    """How long the text of each event is."""
    streamed: bool = True
    poison: str = ""
    """What the upstream answers with to spoil the row: a name that `upstream.py` knows."""

    @property
    def length_s(self) -> float:
        return self.silent_s + self.events * self.every_s

    def body(self, *, model: str = "soak") -> bytes:
        """The body of the request that asks for it."""
        request: dict[str, Any] = {"model": model, "max_tokens": 100_000, "stream": self.streamed}
        request["messages"] = [{"role": "user", "content": json.dumps(asdict(self))}]
        return json.dumps(request).encode()

    @classmethod
    def of(cls, body: dict[str, Any]) -> Self:
        """The order that came with a Chat Completions request."""
        return cls(**json.loads(body["messages"][-1]["content"]))
