"""Token counts of one response, in both dialects.

Anthropic counts disjointly (input, cache read, cache write), OpenAI inclusively (prompt contains the cached tokens).
"""

from dataclasses import dataclass, fields, replace

from messages_api.backend.protocol.openai_counts import read_counts, read_each
from messages_api.backend.protocol.types import JSONObject


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
    audio_input: int | None = None
    """The part of `input` that is audio."""
    audio_output: int | None = None
    """The part of `output` that is audio."""
    web_searches: int | None = None
    """Requests of a web search that the upstream ran and bills."""

    @classmethod
    def from_openai(cls, usage: object) -> "Usage":
        """Read a `usage` object of Chat Completions, in the spelling of any provider."""
        counts = read_counts(usage)
        return cls(
            input=counts.input,
            output=counts.output,
            cache_read=counts.cached,
            cache_write=counts.written,
            cache_write_1h=counts.written_1h,
            thinking=counts.reasoning,
            audio_input=counts.audio_input,
            audio_output=counts.audio_output,
            web_searches=counts.web_searches,
        )

    @classmethod
    def from_anthropic(cls, usage: object) -> "Usage":
        """Read a `usage` object of a Message, `message_start` or `message_delta`."""
        counts = _object(usage)
        input, output, cache_read, cache_write = read_each(
            counts, "input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"
        )
        cache_write_1h = None
        if by_lifetime := _object(counts.get("cache_creation")):
            cache_write_5m, cache_write_1h = read_each(
                by_lifetime, "ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens"
            )
            cache_write = _sum(cache_write_5m, cache_write_1h) if cache_write is None else cache_write
        thinking = None
        if details := _object(counts.get("output_tokens_details")):
            (thinking,) = read_each(details, "thinking_tokens")
        web_searches = None
        if server_tools := _object(counts.get("server_tool_use")):
            (web_searches,) = read_each(server_tools, "web_search_requests")
        if cache_write is not None and cache_write_1h is not None:
            cache_write_1h = min(cache_write_1h, cache_write)
        return cls(
            input=input,
            output=output,
            cache_read=cache_read,
            cache_write=cache_write,
            cache_write_1h=cache_write_1h,
            thinking=thinking,
            web_searches=web_searches,
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
        omission of the upstream. An input of 0 beside more cached tokens is none: the input was moved to the cache.
        Lifetimes of cache writes are only in the first event of a stream: where all its writes have one hour, those
        that a loop of server tools adds have it, too. Where it has none, the lifetime is unknown.
        """
        merged = {field.name: _later(getattr(self, field.name), getattr(later, field.name)) for field in _FIELDS}
        if later.input == 0 and later.cached > self.cached:
            merged["input"] = 0
        merged["cache_write_1h"] = self._merged_1h(later, merged["cache_write"], merged["cache_write_1h"])
        return Usage(**merged)

    def _merged_1h(self, later: "Usage", write: int | None, one_hour: int | None) -> int | None:
        if write is None or one_hour is None:
            return one_hour
        if later.cache_write_1h is None and write > (self.cache_write or 0) and self.cache_write == self.cache_write_1h:
            return write if self.cache_write else None
        return min(one_hour, write)

    def replaced(self, later: "Usage") -> "Usage":
        """Return these counts, replaced by later ones of Chat Completions.

        There the input is what its cached part leaves of the prompt: the two are replaced together. Counts that are all
        0 are a placeholder.
        """
        if not (later.input or later.cached or later.output):
            return self if self != UNKNOWN else later
        prompt = self if later.input is None else later
        output = self.output if later.output is None else later.output
        return replace(
            prompt,
            output=output,
            thinking=_later(self.thinking, later.thinking),
            audio_output=_later(self.audio_output, later.audio_output),
            web_searches=_later(self.web_searches, later.web_searches),
        )

    @property
    def cached(self) -> int:
        """The input that was read from a cache or written to it."""
        return (self.cache_read or 0) + (self.cache_write or 0)

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
        """Return the counts reported so far. Final ones have both an input and an output count.

        No prompt has 0 tokens: such a count is a placeholder that the upstream never replaced.
        """
        if usage.input == 0 and not usage.cached:
            usage = replace(usage, input=None)
        if usage.input is None and usage.output is None:
            return cls()
        return cls(usage=usage, is_final=is_final and usage.input is not None and usage.output is not None)
