"""Output of a model, independent of the dialect."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

Stop = Literal["stop", "length", "tools", "stop_sequence", "refusal"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ToolCall:
    name: str = "get_weather"
    arguments: str = '{"city": "Paris", "unit": "celsius"}'
    id: str = "call_scripted_1"
    piece: int = 8
    """Characters of the arguments per chunk of a stream."""

    @property
    def pieces(self) -> list[str]:
        return [self.arguments[i : i + self.piece] for i in range(0, len(self.arguments), self.piece)]


@dataclasses.dataclass(frozen=True, slots=True)
class Reply:
    """One response: a stream sends the texts one by one, a plain response joins them."""

    texts: Sequence[str] = ("Hello", ", ", "world!")
    _: dataclasses.KW_ONLY
    thinking: Sequence[str] = ()
    tool_calls: Sequence[ToolCall] = ()
    refusal: str = ""
    stop: Stop = "stop"
    usage: tuple[Any, Any] | None = (9, 12)
    """Input and output tokens, valid or not; None leaves usage out."""
    cached: int = 0
    """Input tokens that are cache reads."""
    running_usage: bool = False
    """Whether a stream reports usage more than once, each time the total so far."""


HELLO = Reply()
