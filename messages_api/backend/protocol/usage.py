"""Token counts of one response, in both dialects.

Anthropic counts disjointly (input, cache read, cache write), OpenAI inclusively (prompt contains the cached tokens).
"""

from dataclasses import dataclass, fields

from messages_api.backend.protocol.types import JSONObject

# Larger than any response: a higher number is an error of the upstream and must not be billed.
_LARGEST_COUNT = 10**9


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """Token counts. None is not reported; an implausible count is treated as not reported."""

    input: int | None = None
    """Without cache reads and cache writes."""
    output: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None
    cache_write_1h: int | None = None
    """The part of `cache_write` with a lifetime of one hour; the rest has five minutes."""
    thinking: int | None = None
    """The part of `output` that is thinking."""

    @classmethod
    def from_openai(cls, usage: object) -> "Usage":
        """Read a `usage` object of Chat Completions, or DeepSeek's spelling of it."""
        counts = _object(usage)
        prompt_details = _object(counts.get("prompt_tokens_details"))
        completion_details = _object(counts.get("completion_tokens_details"))
        output = _count(counts.get("completion_tokens"))
        thinking = _count(completion_details.get("reasoning_tokens"))

        prompt = _count(counts.get("prompt_tokens"))
        if prompt is None:
            return cls(output=output, thinking=thinking)
        cached = _count(prompt_details.get("cached_tokens")) or _count(counts.get("prompt_cache_hit_tokens")) or 0
        cache_read = min(cached, prompt)
        cache_write = min(_count(prompt_details.get("cache_write_tokens")) or 0, prompt - cache_read)
        return cls(
            input=prompt - cache_read - cache_write,
            output=output,
            cache_read=cache_read,
            cache_write=cache_write,
            thinking=thinking,
        )

    @classmethod
    def from_anthropic(cls, usage: object) -> "Usage":
        """Read a `usage` object of a Message, `message_start` or `message_delta`."""
        counts = _object(usage)
        by_lifetime = _object(counts.get("cache_creation"))
        cache_write = _count(counts.get("cache_creation_input_tokens"))
        cache_write_1h = _count(by_lifetime.get("ephemeral_1h_input_tokens"))
        if cache_write is None and by_lifetime:
            cache_write = _sum(_count(by_lifetime.get("ephemeral_5m_input_tokens")), cache_write_1h)
        if cache_write is not None and cache_write_1h is not None:
            cache_write_1h = min(cache_write_1h, cache_write)
        return cls(
            input=_count(counts.get("input_tokens")),
            output=_count(counts.get("output_tokens")),
            cache_read=_count(counts.get("cache_read_input_tokens")),
            cache_write=cache_write,
            cache_write_1h=cache_write_1h,
            thinking=_count(_object(counts.get("output_tokens_details")).get("thinking_tokens")),
        )

    def openai(self) -> JSONObject:
        """Return the `usage` of Chat Completions. Counts that are not reported are 0."""
        cache_read, cache_write = self.cache_read or 0, self.cache_write or 0
        prompt, completion = (self.input or 0) + cache_read + cache_write, self.output or 0
        usage: JSONObject = {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": cache_read, "cache_write_tokens": cache_write},
        }
        if self.thinking:
            usage["completion_tokens_details"] = {"reasoning_tokens": self.thinking}
        return usage

    def anthropic(self) -> JSONObject:
        """Return the `usage` of a Message. Counts that are not reported are 0."""
        usage: JSONObject = {
            "input_tokens": self.input or 0,
            "cache_creation_input_tokens": self.cache_write or 0,
            "cache_read_input_tokens": self.cache_read or 0,
            "output_tokens": self.output or 0,
        }
        if self.thinking:
            usage["output_tokens_details"] = {"thinking_tokens": self.thinking}
        return usage

    def merged(self, later: "Usage") -> "Usage":
        """Return these counts, replaced by later ones.

        Counts in a stream are cumulative, so the later one wins. But a missing one, or a 0 after a known count, is an
        omission of the upstream.
        """
        return Usage(**{field.name: _later(getattr(self, field.name), getattr(later, field.name)) for field in _FIELDS})

    def completed_by(self, estimate: "Usage") -> "Usage":
        """Return these counts, completed by an estimate for those that are not reported.

        For an incomplete response: its output count, if any, is from its start, so the larger output is used.
        """
        known = {field.name: getattr(self, field.name) for field in _FIELDS}
        filled = {name: getattr(estimate, name) if count is None else count for name, count in known.items()}
        filled["output"] = max(self.output or 0, estimate.output or 0)
        return Usage(**filled)


_FIELDS = fields(Usage)

UNKNOWN = Usage()
"""No count is reported."""


def _later(known: int | None, later: int | None) -> int | None:
    if later or known is None:
        return later
    return known


def _object(value: object) -> JSONObject:
    return value if isinstance(value, dict) else {}


def _count(value: object) -> int | None:
    """Return a token count, or None for an implausible one: negative, a fraction, a string, a Boolean."""
    if type(value) is int and 0 <= value <= _LARGEST_COUNT:
        return value
    return None


def _sum(*counts: int | None) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportedUsage:
    """An upstream's own counts, without any estimate of the gateway."""

    usage: Usage | None = None
    """None: the upstream reported none."""
    is_final: bool = False
    """Whether the counts cover the complete response."""

    @classmethod
    def of(cls, usage: Usage, *, is_final: bool) -> "ReportedUsage":
        """Return the counts reported so far. Final ones have both an input and an output count."""
        if usage.input is None and usage.output is None:
            return cls()
        return cls(usage=usage, is_final=is_final and usage.input is not None and usage.output is not None)
