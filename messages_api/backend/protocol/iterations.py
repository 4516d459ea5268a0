"""Iterations: the samplings of one Anthropic response, each with its own tokens and, where it differs, its own model.

The counts of the response itself lack some of them: compaction, the advisor, hops that another model replaced.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from messages_api.backend.protocol.types import JSONObject
from messages_api.backend.protocol.usage import Usage

MAX_ITERATIONS = 100
MAX_READ = 2000  # twice as many as any client accepts; more are an error of the upstream
MAX_HOPS = 20
MAX_MODEL = 256
UNCATEGORIZED = "uncategorized"
"""The category of a refusal for which the upstream names none."""
_KEPT = 80
_FALLBACK = "fallback_message"
_MESSAGES = ("message", _FALLBACK)
_COUNTS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens")
_WORD = re.compile(r"[A-Za-z0-9_.:/-]{1,40}")


class Hop(NamedTuple):
    """A model that declined to respond and that a fallback model replaced."""

    model: str
    next_model: str
    category: str
    has_content: bool
    """Whether its output had begun."""


def hop_of(block: JSONObject, *, has_content: bool) -> Hop:
    """Read a `fallback` content block."""
    trigger = block.get("trigger")
    category = trigger.get("category") if isinstance(trigger, dict) else None
    return Hop(_model_of(block.get("from")), _model_of(block.get("to")), category_of(category), has_content)


def category_of(value: object) -> str:
    """Return the category of a refusal as a word; `?` for one that is none."""
    if value is None:
        return UNCATEGORIZED
    return word(value)


def word(value: object) -> str:
    """Return an identifier of the upstream; `?` for anything else, which may be content."""
    return value if isinstance(value, str) and _WORD.fullmatch(value) else "?"


def model_name(value: object) -> str:
    """Return the name of a model, empty for anything that is none."""
    return value if isinstance(value, str) and len(value) <= MAX_MODEL and value.isprintable() else ""


def read_iterations(value: object, *, usage: Usage, hops: Sequence[Hop] = ()) -> list[JSONObject] | None:
    """Return the entries of `iterations`, or None where there are none that cover the counts of the response.

    `usage` has the counts of the response itself: the lifetimes of cache writes that entries do not state are its own.
    """
    if not isinstance(value, list) or not 0 < len(value) <= MAX_READ:
        return None
    counted = [_counts(each) for each in value]
    known = [counts for counts in counted if counts is not None]
    if len(known) < len(counted) or _prompt(known) < (usage.input or 0) + usage.cached:
        return None
    lifetimes = _Lifetimes(usage)
    entries = [_entry(each, counts, lifetimes) for each, counts in zip(value, known, strict=True)]
    _mark_refused(entries, hops)
    _add_missing_output(entries, usage.output or 0)
    return entries


def summed(entries: Sequence[JSONObject], usage: Usage) -> Usage:
    """Return the tokens that the entries add up to, and what else the response counts."""
    input, output, read, write_5m, write_1h = (sum(entry[name] for entry in entries) for name in _COUNTS)
    return Usage(
        input=input,
        output=output,
        cache_read=read,
        cache_write=write_5m + write_1h,
        cache_write_1h=write_1h,
        thinking=usage.thinking,
        audio_input=usage.audio_input,
        audio_output=usage.audio_output,
        web_searches=usage.web_searches,
    )


def last_message(entries: Sequence[JSONObject]) -> JSONObject:
    """Return the entry that ended the response."""
    return next((entry for entry in reversed(entries) if entry["type"] in _MESSAGES), entries[-1])


class _Lifetimes:
    """The lifetimes of cache writes that entries do not state: those of the response."""

    def __init__(self, usage: Usage) -> None:
        self._left = usage.cache_write_1h or 0
        self._is_all_1h = bool(self._left) and self._left == usage.cache_write

    def one_hour(self, counts: Usage) -> int:
        """Return the writes of an entry with a lifetime of one hour."""
        write = counts.cache_write or 0
        if counts.cache_write_1h is not None:
            return counts.cache_write_1h
        if self._is_all_1h:
            return write
        taken = min(self._left, write)
        self._left -= taken
        return taken


def _counts(entry: object) -> Usage | None:
    counts = Usage.from_anthropic(entry)
    return None if counts.input is None or counts.output is None else counts


def _prompt(counts: Sequence[Usage]) -> int:
    return sum((each.input or 0) + each.cached for each in counts)


def _entry(entry: JSONObject, counts: Usage, lifetimes: _Lifetimes) -> JSONObject:
    one_hour = lifetimes.one_hour(counts)
    return {
        "type": word(entry.get("type")),
        "model": model_name(entry.get("model")),
        "input_tokens": counts.input,
        "output_tokens": counts.output,
        "cache_read_tokens": counts.cache_read or 0,
        "cache_write_5m_tokens": (counts.cache_write or 0) - one_hour,
        "cache_write_1h_tokens": one_hour,
    }


def _mark_refused(entries: list[JSONObject], hops: Sequence[Hop]) -> None:
    """Add the category of each hop to the entry that it ended: the last one before the next model's first."""
    start = 0
    for hop in hops:
        following = [
            index
            for index, entry in enumerate(entries)
            if index > start and entry["type"] == _FALLBACK and entry["model"] in ("", hop.next_model)
        ]
        end = following[0] if following else len(entries)
        refused = [
            index
            for index, entry in enumerate(entries[:end])
            if index >= start and entry["type"] in _MESSAGES and (following or entry["model"] in ("", hop.model))
        ]
        if not refused:
            continue
        entry = entries[refused[-1]]
        entry["model"] = entry["model"] or hop.model
        mark_refused(entry, category=hop.category, has_content=hop.has_content)
        start = end


def _add_missing_output(entries: list[JSONObject], output: int) -> None:
    """Add output to the last message that the response counts and its entries do not, as of a stream that goes on.

    The response counts the messages of the hop that served it.
    """
    counted = [entry for entry in entries if entry["type"] in _MESSAGES and "refusal_category" not in entry]
    missing = output - sum(entry["output_tokens"] for entry in counted)
    if missing > 0:
        last_message(entries)["output_tokens"] += missing


def mark_refused(entry: JSONObject, *, category: str, has_content: bool) -> None:
    """Add a refusal to an entry. It came before any output without content, and with 1 counted token at most."""
    entry["refusal_category"] = category
    entry["refused_before_output"] = not has_content and entry["output_tokens"] <= 1


def folded(entries: list[JSONObject]) -> list[JSONObject]:
    """Return at most MAX_ITERATIONS entries: of more, the later ones of one kind are added up."""
    if len(entries) <= MAX_ITERATIONS:
        return entries
    folded: dict[tuple[object, ...], JSONObject] = {}
    for entry in entries[_KEPT:]:
        names = ("type", "model", "refusal_category", "refused_before_output")
        kind: tuple[object, ...] = tuple(entry.get(name) for name in names)
        if kind not in folded and len(folded) == MAX_ITERATIONS - _KEPT:
            kind = next(reversed(folded))  # of more models than any response has
        if kind in folded:
            for name in _COUNTS:
                folded[kind][name] += entry[name]
        else:
            folded[kind] = entry
    return [*entries[:_KEPT], *folded.values()]


def _model_of(value: object) -> str:
    return model_name(value.get("model")) if isinstance(value, dict) else ""
