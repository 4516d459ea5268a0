"""What a model has to say, before it is put into a dialect."""

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
    """How many characters of the arguments a stream sends at a time."""

    @property
    def pieces(self) -> list[str]:
        return [self.arguments[i : i + self.piece] for i in range(0, len(self.arguments), self.piece)]


@dataclasses.dataclass(frozen=True, slots=True)
class Reply:
    """One answer: a stream sends the texts one by one, a plain answer joins them."""

    texts: Sequence[str] = ("Hello", ", ", "world!")
    _: dataclasses.KW_ONLY
    thinking: Sequence[str] = ()
    tool_calls: Sequence[ToolCall] = ()
    refusal: str = ""
    stop: Stop = "stop"
    usage: tuple[Any, Any] | None = (9, 12)
    """Tokens in and out, which may be as wrong as a test wants; None leaves usage out."""
    cached: int = 0
    """How many of the tokens in were read from a cache."""
    running_usage: bool = False
    """Whether a stream tells usage more than once, each time the total so far."""


HELLO = Reply()
