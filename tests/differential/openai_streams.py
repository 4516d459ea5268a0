"""Generator of streams of the OpenAI dialect, in the spellings of its many servers."""

from dataclasses import dataclass, field
from random import Random
from typing import Any

from tests.differential import openai_counts
from tests.differential.intended import Counts, GeneratedStream, Intended
from tests.differential.openai_tool_calls import (
    HISTORY_ID,
    NAMES,
    STYLES,
    Call,
    cut_call,
    interleaved,
    random_calls,
)
from tests.differential.randomness import chance, cut, cut_into_halves, one_of, text
from tests.differential.wire_form import Frame, Style, written

STOP_SEQUENCE = "###"
REQUEST: dict[str, Any] = {
    "model": "m",
    "max_tokens": 64,
    "stop_sequences": [STOP_SEQUENCE],
    "tools": [{"name": name, "input_schema": {"type": "object"}} for name in NAMES],
    "messages": [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": HISTORY_ID, "name": "get", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": HISTORY_ID, "content": "ok"}]},
    ],
}
BLANK = (" ", "\n", "\n\n", "\t")
REASONING = ("reasoning_content", "reasoning", "both", "reasoning_details", "content parts", "thinking_blocks")
FINISHES = ("separate", "last", "every chunk", "first chunk", "null text", "none")


@dataclass
class Delta:
    """The content of one chunk, in the choice with this index."""

    fields: dict[str, Any]
    choice: int = 0


@dataclass(kw_only=True)
class OpenAIServer:
    """A server with random habits, which generates one response."""

    random: Random
    deltas: list[Delta] = field(default_factory=list)
    content: list[dict[str, Any]] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    cut_arguments: str | None = None
    is_refusal: bool = False

    def __post_init__(self) -> None:
        random = self.random
        self.reasoning = random.choice(REASONING)
        self.has_content_parts = chance(random, 0.05)
        self.has_halves = chance(random, 0.1)
        self.call_style = random.choice(STYLES)
        self.call_choice = 1 if chance(random, 0.04) else 0
        self.counts: Counts | None = openai_counts.counts(random) if chance(random, 0.92) else None
        self.known_ids = {HISTORY_ID}

    def stream(self, seed: int) -> GeneratedStream:
        random = self.random
        self._generate()
        finish, stop_reason, stop_fields = self._stop()
        frames = self._frames(finish, stop_fields)
        intended = Intended(
            content=self.content,
            stop_reason=stop_reason,
            stop_sequence=STOP_SEQUENCE if stop_reason == "stop_sequence" else None,
            counts=self.counts,
            cut_arguments=self.cut_arguments,
        )
        pieces = written(random, frames, Style.random(random))
        return GeneratedStream(seed=seed, dialect="openai", request=REQUEST, pieces=pieces, intended=intended)

    # ---- content

    def _generate(self) -> None:
        random = self.random
        if chance(random, 0.03):
            self.is_refusal = True
            self._say("refusal", text(random))
            return
        last = ""
        for _ in range(one_of(random, range(6), (1, 6, 8, 6, 3, 2))):
            kind = one_of(random, ("thinking", "text", "calls"), (3, 5, 3))
            if kind == last or (kind == "calls" and self.call_choice and not self.content):
                continue
            if kind == "calls":
                self._call_tools()
                if self.call_choice:  # a response that is split into choices has its text in the first
                    break
            else:
                self._say(kind, text(random, longest=25))
            last = kind
        if chance(random, 0.06) and self.call_style in ("incremental", "whole"):
            call, self.cut_arguments = cut_call(random, number=len(self.calls))
            self._add_calls([call], call.fragments)
        elif not self._ends_with_text() and chance(random, 0.1):  # blank text at the end is no block
            self.deltas.append(Delta(self._text_fields("text", random.choice(BLANK))))

    def _ends_with_text(self) -> bool:
        return bool(self.content) and self.content[-1]["type"] == "text"

    def _say(self, kind: str, whole: str) -> None:
        """Send a text or thinking in pieces. The first is not blank: behind a tool call, blank text is no block."""
        pieces = (cut_into_halves if self.has_halves else cut)(self.random, whole)
        while pieces[0].isspace() or not pieces[0]:
            pieces[:2] = [pieces[0] + pieces[1]]
        self.deltas += [Delta(self._text_fields(kind, piece)) for piece in pieces if piece or chance(self.random, 0.3)]
        kind = "text" if kind == "refusal" else kind
        self._add_text(kind, whole)

    def _add_text(self, kind: str, piece: str) -> None:
        if self.content and self.content[-1]["type"] == kind:
            self.content[-1][kind] += piece
        else:
            self.content.append({"type": kind, kind: piece})

    def _text_fields(self, kind: str, piece: str) -> dict[str, Any]:
        if kind == "refusal":
            return {"refusal": piece}
        if kind == "text":
            return {"content": [{"type": "text", "text": piece}] if self.has_content_parts else piece}
        match self.reasoning:
            case "both":
                return {"reasoning_content": piece, "reasoning": piece}
            case "reasoning_details":
                return {"reasoning_details": [{"type": "reasoning.text", "text": piece, "index": 0}]}
            case "content parts":
                return {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": piece}]}]}
            case "thinking_blocks":
                return {"reasoning_content": piece, "thinking_blocks": [{"type": "thinking", "thinking": piece}]}
        return {self.reasoning: piece}

    def _call_tools(self) -> None:
        random = self.random
        if not self.calls and chance(random, 0.05):
            self.call_style = "function_call"
        if self.call_style == "function_call" and self.calls:
            return
        count = 1 if self.call_style == "function_call" else one_of(random, (1, 2, 3), (6, 3, 1))
        if not self.content and chance(random, 0.1):  # blank text before a tool call is no block
            self.deltas.append(Delta(self._text_fields("text", random.choice(BLANK))))
        calls = random_calls(random, self.call_style, first=len(self.calls), count=count)
        fragments = [fragment for call in calls for fragment in call.fragments]
        if self.call_style in ("incremental", "repeated") and len(calls) > 1 and chance(random, 0.5):
            fragments = interleaved(random, calls)
        self._add_calls(calls, fragments)

    def _add_calls(self, calls: list[Call], fragments: list[dict[str, Any]]) -> None:
        self.calls += calls
        self.content += [call.block(self.known_ids) for call in calls]
        if self.call_style == "function_call":
            self.deltas += [Delta({"function_call": fragment}) for fragment in fragments]
        elif self.call_style.startswith("whole") and chance(self.random, 0.4) and self.call_style != "whole at index 0":
            self.deltas.append(Delta({"tool_calls": fragments}, self.call_choice))
        else:
            self.deltas += [Delta({"tool_calls": [fragment]}, self.call_choice) for fragment in fragments]

    # ---- the end

    def _stop(self) -> tuple[str, str, dict[str, Any]]:
        """Return the finish reason, the stop reason that it means, and other fields of the last choice."""
        random = self.random
        if self.cut_arguments is not None or chance(random, 0.08):
            return random.choice(("length", "length", "max_tokens", "MAX_TOKENS")), "max_tokens", {}
        if chance(random, 0.04):
            return random.choice(("content_filter", "SAFETY")), "refusal", {}
        if self.calls:
            return random.choice(("tool_calls", "tool_calls", "stop", "function_call", "tool_use")), "tool_use", {}
        if self.is_refusal:
            return "stop", "refusal", {}
        if chance(random, 0.15):
            return "stop", "stop_sequence", {random.choice(("stop_reason", "matched_stop")): STOP_SEQUENCE}
        return random.choice(("stop", "stop", "STOP", "end_turn", "eos", "tool_calls")), "end_turn", {}

    def _frames(self, finish: str, stop_fields: dict[str, Any]) -> list[Frame]:
        random = self.random
        style = self._finish_style(finish, stop_fields)
        deltas = self._merged() if chance(random, 0.3) else self.deltas
        if chance(random, 0.8) or not deltas:
            deltas = [Delta({"role": "assistant", **random.choice(({}, {"content": ""}, {"content": None}))}), *deltas]
        not_yet: Any = {"null text": random.choice(("null", "")), "every chunk": "stop"}.get(style)
        chunks = [self._chunk(delta, finish=not_yet) for delta in deltas]
        if style == "first chunk":
            chunks[0]["choices"][0]["finish_reason"] = "stop"
        if style == "last":
            chunks[-1]["choices"][0] |= {"finish_reason": finish, **stop_fields}
        elif style != "none":
            empty = random.choice(({}, {"content": ""}, {"content": None, "role": "assistant"}))
            chunks.append(self._chunk(Delta(empty, deltas[-1].choice), finish=finish, **stop_fields))
        self._add_usage(chunks)
        frames = [Frame(chunk) for chunk in chunks]
        if style == "none" or chance(random, 0.85):
            frames.append(Frame("[DONE]"))
        return frames

    def _finish_style(self, finish: str, stop_fields: dict[str, Any]) -> str:
        style = one_of(self.random, FINISHES, (10, 5, 1, 1, 2, 1))
        is_implied = finish in ("stop", "tool_calls") and not stop_fields and all(call.arguments for call in self.calls)
        return "separate" if style == "none" and not is_implied else style

    def _merged(self) -> list[Delta]:
        """Return the deltas, some of which are joined: servers read reasoning, text and tool calls of one delta so."""
        merged: list[Delta] = []
        for delta in self.deltas:
            before = merged[-1] if merged else None
            if before and _may_be_joined(before, delta) and chance(self.random, 0.4):
                before.fields = before.fields | delta.fields
            else:
                merged.append(Delta(delta.fields, delta.choice))
        return merged

    def _chunk(self, delta: Delta, *, finish: str | None, **stop_fields: Any) -> dict[str, Any]:
        random = self.random
        fields = dict(delta.fields)
        if chance(random, 0.2):
            fields = {"role": "assistant", "content": None, "tool_calls": None, "refusal": None} | fields
        choice: dict[str, Any] = {"index": delta.choice, "delta": fields, "finish_reason": finish, **stop_fields}
        if finish is None and chance(random, 0.1):
            del choice["finish_reason"]
        chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m-1"}
        if chance(random, 0.2):
            chunk |= {"system_fingerprint": None, "service_tier": "default", "obfuscation": "Xk2"}
            choice["logprobs"] = None
        return chunk | {"choices": [choice]}

    def _add_usage(self, chunks: list[dict[str, Any]]) -> None:
        """Add the counts where some server has them: on a chunk of their own, on the last one, on all, in a choice."""
        random, counts = self.random, self.counts
        if counts is None:
            return
        spelling = openai_counts.spelling_for(random, counts)
        place = one_of(random, ("own", "last", "all", "choice"), (6, 3, 1, 1))
        usage = spelling(counts)
        if place == "own":
            if chance(random, 0.5):
                for chunk in chunks:
                    chunk["usage"] = None
            own = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m-1", "choices": []}
            chunks.append(own | openai_counts.placed(random, usage))
        elif place == "choice" and "promptTokenCount" not in usage:
            chunks[-1]["choices"][0]["usage"] = usage
        else:
            if place == "all":
                for chunk in chunks:
                    chunk |= openai_counts.placed(random, spelling(openai_counts.partial(random, counts)))
            chunks[-1].pop("x_groq", None)
            chunks[-1].pop("usage", None)
            chunks[-1] |= openai_counts.placed(random, usage)
        if chance(random, 0.05):
            chunks.insert(0, {"id": "", "object": "", "model": "", "choices": [], "prompt_filter_results": []})


def _may_be_joined(first: Delta, second: Delta) -> bool:
    """Whether one chunk may have the content of both: a reader takes its parts in a fixed order."""
    is_free = first.choice == second.choice and not first.fields.keys() & second.fields.keys()
    return is_free and _place(first) < _place(second)


def _place(delta: Delta) -> int:
    fields = delta.fields
    if "tool_calls" in fields or "function_call" in fields:
        return 3
    return 2 if "content" in fields or "refusal" in fields else 1


def openai_stream(seed: int) -> GeneratedStream:
    return OpenAIServer(random=Random(f"openai {seed}")).stream(seed)
