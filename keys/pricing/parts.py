"""The parts of a request that are priced: one per sampling where the upstream lists them, else one. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from keys.domain import price_kinds

MESSAGE = "message"
SERVING = (MESSAGE, "fallback_message")
"""Types of samplings that may be the response. A compaction or an advisor is not."""
COUNTED = (
    price_kinds.INPUT,
    price_kinds.OUTPUT,
    price_kinds.CACHE_READ,
    price_kinds.CACHE_WRITE_5M,
    price_kinds.CACHE_WRITE_1H,
)


class AudioInIterations(Exception):
    """Audio tokens of several samplings: it is unknown which of them they are part of."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """Tokens of one sampling of one model."""

    number: int = 1
    type: str = MESSAGE
    model: str = ""
    """Empty: the served model."""
    tokens: dict[str, int] = field(default_factory=dict)
    """By kind. Kinds do not overlap."""
    refusal_category: str = ""
    """Of a refusal before any output. Empty: none."""

    @property
    def prompt_tokens(self) -> int:
        """Input, cache reads and cache writes."""
        return sum(count for kind, count in self.tokens.items() if kind not in price_kinds.OUTPUT_KINDS)


def of(row: Mapping[str, Any]) -> list[Part]:
    """Return the parts of a usage record. Raise AudioInIterations."""
    entries = [entry for entry in row.get("iterations") or [] if isinstance(entry, Mapping)]
    refusal = _refusal(row)
    if not entries:
        return [Part(tokens=_tokens(row, audio=row), refusal_category=refusal)]
    audio = any(_count(row, f"audio_{direction}_tokens") for direction in ("input", "output"))
    if audio and len(entries) > 1:
        raise AudioInIterations
    serving = [index for index, entry in enumerate(entries) if entry.get("type", MESSAGE) in SERVING]
    return [
        Part(
            number=index + 1,
            type=str(entry.get("type") or MESSAGE),
            model=str(entry.get("model") or ""),
            tokens=_tokens(entry, audio=row if audio else {}),
            refusal_category=_refusal(entry) or (refusal if serving and index == serving[-1] else ""),
        )
        for index, entry in enumerate(entries)
    ]


def _refusal(row: Mapping[str, Any]) -> str:
    return str(row.get("refusal_category") or "") if row.get("refused_before_output") else ""


def _tokens(row: Mapping[str, Any], *, audio: Mapping[str, Any]) -> dict[str, int]:
    """Return tokens by kind, audio apart from the input and the output that contain them."""
    found = {kind: _count(row, f"{kind}_tokens") for kind in COUNTED}
    for kind, containing in (
        (price_kinds.AUDIO_INPUT, price_kinds.INPUT),
        (price_kinds.AUDIO_OUTPUT, price_kinds.OUTPUT),
    ):
        # An upstream may count cached audio too: it is part of the cache reads here.
        found[kind] = min(_count(audio, f"{kind}_tokens"), found[containing])
        found[containing] -= found[kind]
    return {kind: found[kind] for kind in price_kinds.TOKEN_KINDS}


def _count(row: Mapping[str, Any], name: str) -> int:
    """Return a number of tokens. Unknown counts are 0."""
    value = row.get(name)
    return value if type(value) is int and value > 0 else 0
