"""Scenarios of an upstream without faults."""

from collections.abc import Iterable

from .openai_dialect import openai_frame
from .replies import HELLO, Reply, ToolCall
from .request_log import RecordedRequest
from .responses import body_of, body_response, content_of, failure, frames_of, head_of, replied, streamed
from .scenario import Scenario, parameter
from .steps import Chunk, EndChunks, Pause, Script, Step

HELLO_SCRIPT: Script = replied(HELLO)

ODD_CHARACTERS = 'line\u2028para\u2029next\u0085nul\x00tab\tquote"back\\slash \U0001f600 e\u0301 \ufeff\u202eend'
"""Characters that some readers treat as line ends, and characters of more than two bytes."""


def slow(request: RecordedRequest) -> Iterable[Step]:
    """Stream n texts, one every i milliseconds; a plain response takes as long."""
    count, every_s = parameter(request, "n", 20), parameter(request, "i", 100) / 1000
    reply = Reply([f"{i} " for i in range(count)], usage=(9, count))
    if request.is_streamed:
        return streamed(frames_of(request, reply), every_s=every_s)
    return [Pause(count * every_s), *body_response(body_of(request, reply))]


def late(request: RecordedRequest) -> Iterable[Step]:
    """Wait for s seconds, then respond."""
    yield Pause(parameter(request, "s", 5))
    yield from HELLO_SCRIPT(request)


def long(request: RecordedRequest) -> Iterable[Step]:
    """Stream as fast as the peer reads, k thousand texts of a thousand characters each."""
    text = "0123456789" * 100
    reply = Reply([text] * (1000 * parameter(request, "k", 10)), usage=(9, 250_000))
    return replied(reply)(request)


def flaky(request: RecordedRequest) -> Iterable[Step]:
    """Fail with 529, except for each n-th request."""
    script = HELLO_SCRIPT if request.id % parameter(request, "n", 3) == 0 else failure(529, "Overloaded.")
    return script(request)


def reasoning(request: RecordedRequest) -> Iterable[Step]:
    """Send thinking in the field `reasoning`, as vLLM and OpenRouter do."""
    reply = Reply(("Hello!",), thinking=("Let me ", "think."))
    if request.is_streamed:
        frames = [frame.replace(b'"reasoning_content"', b'"reasoning"') for frame in frames_of(request, reply)]
        return streamed(frames)
    return body_response(body_of(request, reply).replace(b'"reasoning_content"', b'"reasoning"'))


def byte_by_byte(request: RecordedRequest) -> Iterable[Step]:
    """Send each byte of the body as a separate chunk, which splits characters and line ends."""
    reply = Reply(("H\u00e9llo ", "\u4f60\u597d ", "\U0001f600"))
    pieces = [bytes([byte]) for byte in content_of(request, reply)]
    return [head_of(request), *map(Chunk, pieces), EndChunks()]


def usage_early(request: RecordedRequest) -> Iterable[Step]:
    """Send the usage before the first text, in a chunk without choices, as some servers do."""
    frames = frames_of(request)
    if request.dialect == "openai" and request.is_streamed:
        usage = {"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21}
        first = {"id": "chatcmpl-scripted", "object": "chat.completion.chunk", "created": 0, "model": request.model}
        frames = [openai_frame(first | {"choices": [], "usage": usage}), *frames]
    return streamed(frames) if request.is_streamed else HELLO_SCRIPT(request)


_TWO_TOOLS = (
    ToolCall(),
    ToolCall(name="get_time", arguments='{"zone": "Europe/Paris"}', id="call_scripted_2"),
)
_BARE_TOOL = (ToolCall(arguments="{}"),)
_REPLIES = {
    "text": ("Hello, world! in three texts", HELLO),
    "tools": ("two tool calls after a text", Reply(("Let me see.",), tool_calls=_TWO_TOOLS, stop="tools")),
    "tool-only": ("one tool call without text or arguments", Reply((), tool_calls=_BARE_TOOL, stop="tools")),
    "thinking": ("thinking, then text", Reply(("Hello!",), thinking=("Let me ", "think."))),
    "no-usage": ("a response without usage", Reply(usage=None)),
    "usage-split": ("usage reported several times, each the total so far", Reply(running_usage=True)),
    "usage-cached": ("four of the nine input tokens are cache reads", Reply(cached=4)),
    "empty": ("a complete response without content", Reply((), usage=(9, 0))),
    "length": ("the response ends at max_tokens", Reply(stop="length")),
    "stop-sequence": ("the response ends at a stop sequence", Reply(stop="stop_sequence")),
    "refusal": ("the model refuses in text", Reply((), refusal="I cannot help with that.", stop="refusal")),
    "content-filter": ("a filter cuts the response after its first text", Reply(("Hello",), stop="refusal")),
    "odd-characters": (
        "U+2028, U+0085, NUL and similar characters",
        Reply((ODD_CHARACTERS, ODD_CHARACTERS)),
    ),
}
_FAULTS = {"no-usage": "U23", "odd-characters": "U20"}

SCENARIOS: dict[str, Scenario] = {
    **{
        name: Scenario(title=title, script=replied(reply), fault=_FAULTS.get(name, ""))
        for name, (title, reply) in _REPLIES.items()
    },
    "slow": Scenario(title="n texts, one every i ms: slow-n20-i100", script=slow),
    "late": Scenario(title="no data for s seconds, then a complete response: late-s5", script=late),
    "long": Scenario(title="k thousand texts of 1,000 characters at full speed: long-k10", script=long),
    "flaky": Scenario(title="529, except for each n-th request: flaky-n3", script=flaky),
    "reasoning": Scenario(title="thinking in the field `reasoning`", script=reasoning),
    "byte-by-byte": Scenario(title="each byte of the body in a separate chunk", script=byte_by_byte, fault="U16"),
    "usage-early": Scenario(title="usage in a chunk without choices before the first text", script=usage_early),
}
