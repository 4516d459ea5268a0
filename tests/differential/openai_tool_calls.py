"""Tool calls as servers of the OpenAI dialect spell them: the fragments of one or several calls, in order."""

import json
from dataclasses import dataclass, field
from random import Random
from typing import Any

from tests.differential.intended import NEW_ID
from tests.differential.randomness import chance, cut, cut_into_halves, json_object, json_text, text

NAMES = ("get_weather", "get", "search_web", "mcp__files__read", "Bash")
HISTORY_ID = "call_0"
"""The ID of a tool call in the request's history."""

ONE_BY_ONE = ("incremental", "repeated", "name in pieces", "placeholder", "cumulative", "restated at the end", "quoted")
"""Styles in which a tool call has several fragments, with its index."""
WHOLE = ("whole", "whole at index 0", "whole without index", "whole without index and id", "whole as an object")
STYLES = ("incremental",) * 6 + ONE_BY_ONE + WHOLE
WITHOUT_ID = ("whole without index and id", "function_call")

Fragment = dict[str, Any]


@dataclass(kw_only=True)
class Call:
    name: str
    input: dict[str, Any]
    id: str
    """As the upstream sends it; it may be empty."""
    arguments: str
    """Empty for a tool call without input that has no arguments at all."""
    signature: str = ""
    """Gemini's thought signature, which the ID carries to the client."""
    fragments: list[Fragment] = field(default_factory=list)

    def block(self, known: set[str]) -> dict[str, Any]:
        """Return the block for a client. An ID that is empty or `known` is replaced by a new one."""
        is_new = not self.id or self.id in known
        known.add(self.id)
        tool_id = NEW_ID if is_new else self.id
        if self.signature and not is_new:
            tool_id = f"{tool_id}__thought__{self.signature}"
        return {"type": "tool_use", "id": tool_id, "name": self.name, "input": self.input}


def random_calls(random: Random, style: str, *, first: int, count: int) -> list[Call]:
    """Return some tool calls. `first` is the number of the tool calls that the response already has."""
    calls = [_call(random, style, first + offset) for offset in range(count)]
    for offset, call in enumerate(calls):
        call.fragments = _fragments(random, style, call, index=first + offset)
    return calls


def _call(random: Random, style: str, number: int) -> Call:
    arguments_input = json_object(random)
    arguments = json_text(random, arguments_input)
    if not arguments_input and style in ("incremental", "repeated", "name in pieces", "whole") and chance(random, 0.5):
        arguments = ""
    tool_id = f"call_{number + 1}x{random.randrange(10**6)}"
    if style in WITHOUT_ID:
        tool_id = ""
    elif style in ("incremental", "whole") and chance(random, 0.1):
        tool_id = random.choice(("", HISTORY_ID, "call_same"))
    return Call(
        name=random.choice(NAMES),
        input=arguments_input,
        id=tool_id,
        arguments=arguments,
        signature="c2ln-natur_e" if style in ("whole", "incremental") and chance(random, 0.05) else "",
    )


def _fragments(random: Random, style: str, call: Call, *, index: int) -> list[Fragment]:
    if style in WHOLE:
        return [_whole(style, call, index)]
    if style == "function_call":
        pieces = cut(random, call.arguments)
        return [{"name": call.name, "arguments": pieces[0]}, *({"arguments": piece} for piece in pieces[1:])]
    return _one_by_one(random, style, call, index=index)


def _whole(style: str, call: Call, index: int) -> Fragment:
    arguments: Any = json.loads(call.arguments) if style == "whole as an object" else call.arguments
    fragment: Fragment = {"type": "function", "function": {"name": call.name, "arguments": arguments}}
    if call.id:
        fragment["id"] = call.id
    if "without index" not in style:
        fragment["index"] = 0 if style == "whole at index 0" else index
    return fragment | _extra(call)


def _one_by_one(random: Random, style: str, call: Call, *, index: int) -> list[Fragment]:
    names = [call.name]
    if style == "name in pieces":
        place = random.randrange(1, len(call.name))
        names = [call.name[:place], call.name[place:]]
    empty: Any = random.choice(("", None)) if style != "placeholder" else "{}"
    first = {"index": index, "id": call.id, "type": "function", "function": {"name": names[0], "arguments": empty}}
    later: Fragment = {"index": index}
    if style == "repeated":
        repeated = random.choice((call.name, "", None))
        later = {"index": index, "id": random.choice((call.id, "", None)), "type": "function", "name": repeated}
    out = [first | _extra(call)]
    out += [{"index": index, "function": {"name": name}} for name in names[1:]]
    return out + [_later(later, piece) for piece in _pieces(random, style, call)]


def _later(head: Fragment, piece: str) -> Fragment:
    fragment = {name: value for name, value in head.items() if name != "name"}
    fragment["function"] = {"name": head["name"], "arguments": piece} if "name" in head else {"arguments": piece}
    return fragment


def _pieces(random: Random, style: str, call: Call) -> list[str]:
    if not call.arguments:
        return []
    if style == "quoted":
        return cut(random, json.dumps(call.arguments))
    pieces = (cut_into_halves if chance(random, 0.1) else cut)(random, call.arguments)
    if style == "cumulative":
        return ["".join(pieces[: number + 1]) for number in range(len(pieces))]
    if style == "restated at the end":
        return [*pieces, call.arguments]
    return pieces


def _extra(call: Call) -> Fragment:
    return {"extra_content": {"google": {"thought_signature": call.signature}}} if call.signature else {}


def cut_call(random: Random, *, number: int) -> tuple[Call, str]:
    """Return a tool call that ends after a member of its input, and the arguments that arrive."""
    arguments_input = {"first": text(random), **json_object(random)}
    arguments = json_text(random, arguments_input).rstrip("}").rstrip() if _ends_flat(arguments_input) else ""
    if not arguments:
        arguments_input = {"first": 1}
        arguments = '{"first":1'
    call = Call(name="Bash", input=arguments_input, id=f"call_{number + 1}", arguments=arguments + ",")
    call.fragments = _one_by_one(random, "incremental", call, index=number)
    return call, call.arguments


def _ends_flat(value: dict[str, Any]) -> bool:
    """Whether no brace of the last member would be cut off, too."""
    last = list(value.values())[-1]
    return not isinstance(last, dict)


def interleaved(random: Random, calls: list[Call]) -> list[Fragment]:
    """Return the fragments of parallel calls: the first ones in order, the others mixed."""
    order = [number for number, call in enumerate(calls) for _ in call.fragments[1:]]
    random.shuffle(order)
    rest = [iter(call.fragments[1:]) for call in calls]
    firsts, out, opened = [call.fragments[0] for call in calls], [], 0
    for number in order:
        while opened <= number:
            out.append(firsts[opened])
            opened += 1
        out.append(next(rest[number]))
    return out + firsts[opened:]
