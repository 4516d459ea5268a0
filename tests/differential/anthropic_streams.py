"""Generator of streams of Anthropic's dialect: all block types, pings, usage, and the habits of other servers."""

from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from tests.differential.anthropic_blocks import GeneratedBlock, cut_tool_use, random_block
from tests.differential.intended import Counts, GeneratedStream, Intended
from tests.differential.openai_counts import counts
from tests.differential.randomness import chance, one_of
from tests.differential.wire_form import Frame, Style, written

REQUEST: dict[str, Any] = {
    "model": "claude-m",
    "max_tokens": 64,
    "messages": [{"role": "user", "content": "Hi"}],
}
STOP_SEQUENCE = "\n\nHuman:"
PINGS: tuple[Any, ...] = ({"type": "ping"}, {"type": "ping"}, {}, [], {"type": "ping", "cost": "0"})
Event = dict[str, Any]


@dataclass(kw_only=True)
class AnthropicServer:
    """A server with random habits, which generates one response."""

    random: Random
    blocks: list[GeneratedBlock] = field(default_factory=list)
    is_cut: bool = False

    def __post_init__(self) -> None:
        random = self.random
        self.has_event_names = chance(random, 0.95)
        self.is_lazy = chance(random, 0.05)
        """Whether it sends no stop of a block that another one follows."""
        self.is_anthropic = chance(random, 0.7)
        """Whether it is Anthropic's own API, which reports all counts and has no habits of its own."""
        self.needs_beta = chance(random, 0.3)
        self.model = one_of(random, (REQUEST["model"], "claude-m-20260101"), (3, 1))
        self.counts: Counts | None = counts(random)

    def stream(self, seed: int) -> GeneratedStream:
        random = self.random
        self._generate()
        stop_reason = self._stop_reason()
        stop_sequence = STOP_SEQUENCE if stop_reason == "stop_sequence" else None
        events = [self._message_start(), *self._content(), *self._end(stop_reason, stop_sequence)]
        cut_arguments = self.blocks[-1].arguments if self.is_cut else None
        intended = Intended(
            content=[block.intended for block in self.blocks],
            stop_reason=stop_reason,
            stop_sequence=stop_sequence,
            counts=self.counts,
            cut_arguments=cut_arguments,
        )
        return GeneratedStream(
            seed=seed,
            dialect="anthropic",
            request=REQUEST,
            pieces=written(random, self._frames(events), self._style()),
            intended=intended,
            needs_beta=self.needs_beta,
        )

    def _style(self) -> Style:
        style = Style.random(self.random)
        return style if not self.is_anthropic else replace(style, has_bom=False)

    def _generate(self) -> None:
        random = self.random
        for number in range(one_of(random, range(7), (1, 6, 8, 6, 4, 2, 1))):
            self.blocks.append(random_block(random, number, needs_beta=self.needs_beta))
        if chance(random, 0.05):
            self.is_cut = True
            self.blocks.append(cut_tool_use(random, len(self.blocks)))

    def _stop_reason(self) -> str:
        random = self.random
        if self.is_cut:
            return random.choice(("max_tokens", "max_tokens", "model_context_window_exceeded"))
        if chance(random, 0.2):
            reasons = ("max_tokens", "pause_turn", "refusal", "model_context_window_exceeded", "stop_sequence")
            return random.choice(reasons)
        if self.needs_beta and chance(random, 0.05):
            return "compaction"
        return "tool_use" if any(block.intended["type"] == "tool_use" for block in self.blocks) else "end_turn"

    # ---- events

    def _message_start(self) -> Event:
        random, counts = self.random, self.counts
        assert counts is not None
        usage = self._usage(counts) | {"output_tokens": random.choice((0, 1, 2))}
        usage.pop("output_tokens_details", None)
        if not self.is_anthropic and chance(random, 0.3):
            usage = {"input_tokens": 0, "output_tokens": 0}  # all counts come at the end
        message: dict[str, Any] = {
            "id": "msg_01",
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage,
        }
        if chance(random, 0.3):
            message |= {"stop_details": None, "container": None}
        if not self.is_anthropic and chance(random, 0.1):
            message["content"] = None
        return {"type": "message_start", "message": message}

    def _usage(self, counts: Counts) -> dict[str, Any]:
        usage: dict[str, Any] = {
            "input_tokens": counts.input,
            "cache_creation_input_tokens": counts.cache_write,
            "cache_read_input_tokens": counts.cache_read,
            "output_tokens": counts.output,
        }
        if counts.thinking:
            usage["output_tokens_details"] = {"thinking_tokens": counts.thinking}
        if chance(self.random, 0.3):
            hour = self.random.randrange(counts.cache_write + 1)
            usage["cache_creation"] = {
                "ephemeral_5m_input_tokens": counts.cache_write - hour,
                "ephemeral_1h_input_tokens": hour,
            }
        if chance(self.random, 0.3):
            usage |= {"service_tier": "standard", "inference_geo": None, "server_tool_use": {"web_search_requests": 1}}
        return usage

    def _content(self) -> list[Event]:
        """Return the events of all blocks. Some servers send two tool calls at the same time."""
        random = self.random
        events: list[Event] = []
        number = 0
        while number < len(self.blocks):
            block = self.blocks[number]
            after = self.blocks[number + 1] if number + 1 < len(self.blocks) else None
            is_pair = (
                after is not None
                and block.arguments
                and after.arguments
                and not (self.is_cut and after is self.blocks[-1])
            )
            if is_pair and not self.is_anthropic and chance(random, 0.3):
                assert after is not None
                events += _mixed(random, [block.start, *block.deltas], [after.start, *after.deltas])
                events += [{"type": "content_block_stop", "index": index} for index in (number, number + 1)]
                number += 2
                continue
            events += [block.start, *block.deltas]
            number += 1
            if not (self.is_cut and after is None) and not (self.is_lazy and not self.is_anthropic):
                events.append({"type": "content_block_stop", "index": number - 1})
        return events

    def _may_be_mixed(self, block: GeneratedBlock, after: GeneratedBlock) -> bool:
        is_cut = self.is_cut and after is self.blocks[-1]
        return not self.is_anthropic and bool(block.arguments and after.arguments) and not is_cut

    def _end(self, stop_reason: str, stop_sequence: str | None) -> list[Event]:
        random, counts = self.random, self.counts
        assert counts is not None
        usage = self._usage(counts)
        only_output: dict[str, Any] = {
            name: usage[name] for name in ("output_tokens", "output_tokens_details") if name in usage
        }
        delta: dict[str, Any] = {"stop_reason": stop_reason, "stop_sequence": stop_sequence}
        if stop_reason == "refusal" and chance(random, 0.7):
            delta["stop_details"] = {"type": "refusal", "category": None, "explanation": None}
        if self.is_anthropic and chance(random, 0.5):
            usage = only_output
        last: Event = {"type": "message_delta", "delta": delta, "usage": usage}
        if self.needs_beta and chance(random, 0.3):
            last["context_management"] = {"applied_edits": []}
        events = [last]
        if not self.is_anthropic and chance(random, 0.15):  # some send the counts behind the stop reason, some before
            early: Any = {"output_tokens": 0}
            after = {"type": "message_delta", "delta": random.choice(({}, {"stop_reason": None})), "usage": usage}
            events = [last | {"usage": early}, after] if chance(random, 0.5) else [after, last]
        if not self.is_anthropic and chance(random, 0.1):
            return events  # the end of the bytes ends the message
        stop: Event = {"type": "message_stop"}
        if not self.is_anthropic and chance(random, 0.2):
            stop["amazon-bedrock-invocationMetrics"] = {"inputTokenCount": 1}
        return [*events, stop]

    def _frames(self, events: list[Event]) -> list[Frame]:
        random = self.random
        frames: list[Frame] = []
        ping_probability = random.choice((0, 0.05, 0.3))
        for event in events:
            if chance(random, ping_probability):
                ping = {"type": "ping"} if self.is_anthropic else random.choice(PINGS)
                frames.append(Frame(ping, "ping"))
            if chance(random, 0.02) and frames:
                frames.append(Frame({"type": "future_event", "usage": {"input_tokens": 99}}, "future_event"))
            frames.append(Frame(event, event["type"] if self.has_event_names or self.is_anthropic else None))
        if not self.is_anthropic and chance(random, 0.1):
            frames.append(Frame("[DONE]"))
        return frames


def _mixed(random: Random, first: list[Event], second: list[Event]) -> list[Event]:
    """Return two sequences of events, mixed at random; the first begins."""
    mixed, rest = [first[0]], [first[1:], second]
    while rest[0] and rest[1]:
        mixed.append(rest[random.randrange(2)].pop(0))
    return mixed + rest[0] + rest[1]


def anthropic_stream(seed: int) -> GeneratedStream:
    return AnthropicServer(random=Random(f"anthropic {seed}")).stream(seed)
