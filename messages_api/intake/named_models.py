"""
Models that a request names beside its own `model`: at documented places, and in fields that no documentation has.

Content is not searched: texts, tool inputs, tool schemas and their examples may say anything. Fields that are not
documented may choose a model at an upstream that understands them, so a key with allowed models may not use them.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from lib.pace import Pace, no_pace
from messages_api.intake.strict_json import member_path

CONTENT = frozenset({"content", "input", "input_schema", "input_examples", "schema"})
PART_OF_NAMES = "model"
"""Part of a field's name, in any case: upstreams accept `Model`, `models`, `fallback_models` and `modelId`."""


class NamedModel(NamedTuple):
    """A place in a request that chooses a model."""

    path: str
    name: str | None
    """None: it is not known which model it chooses."""


def named_models(request: Mapping[str, Any], *, step: Pace = no_pace) -> Iterator[NamedModel]:
    """Yield every model that a request names, except its own `model`. `step` is called during long work."""
    for name, value in request.items():
        path = _member("", name)
        if name == "fallbacks":
            yield from _fallbacks(value)
        elif name == "tools":
            yield from _declarations(value, path)
        elif name == "messages":
            yield from _messages(value, step)
        elif name == "system":
            yield from _blocks(value, path, step)
        elif name != "model":
            yield from _undocumented({name: value}, "")


def _fallbacks(value: object) -> Iterator[NamedModel]:
    """Yield the models that an upstream tries after the requested one declines.

    A text is `default`, for models that the upstream chooses. Texts in a list are not Anthropic's: other servers with
    its API read them as names of models.
    """
    if isinstance(value, str):
        yield NamedModel("fallbacks", None)
        return
    yield from _declarations(value, "fallbacks")
    for i, each in enumerate(value if isinstance(value, list) else []):
        if isinstance(each, str):
            yield NamedModel(f"fallbacks[{i}]", each)


def _declarations(value: object, path: str) -> Iterator[NamedModel]:
    """Yield the models of tools or fallbacks."""
    if isinstance(value, list):
        for i, each in enumerate(value):
            yield from _declaration(each, f"{path}[{i}]")
    else:
        yield from _undocumented(value, path)


def _declaration(value: object, path: str) -> Iterator[NamedModel]:
    """Yield the models of an object that documents a `model`: a fallback, or a tool that Anthropic runs."""
    if not isinstance(value, dict):
        yield from _undocumented(value, path)
        return
    model = value.get("model")
    if model is not None:
        yield NamedModel(f"{path}.model", model if isinstance(model, str) else None)
    yield from _undocumented({name: each for name, each in value.items() if name != "model"}, path)


def _messages(messages: list[dict[str, Any]], step: Pace) -> Iterator[NamedModel]:
    for i, message in enumerate(messages):
        step()
        path = f"messages[{i}]"
        yield from _undocumented(message, path)
        yield from _blocks(message["content"], f"{path}.content", step)


def _blocks(content: object, path: str, step: Pace) -> Iterator[NamedModel]:
    """Yield the models of content blocks: a block may add a tool in the middle of a conversation."""
    for i, block in enumerate(content if isinstance(content, list) else []):
        step()
        if not isinstance(block, dict) or block.get("type") == "fallback":
            continue  # a fallback block states which models responded to an earlier request
        place = f"{path}[{i}]"
        tool = block.get("tool")
        if block.get("type") == "tool_addition" and isinstance(tool, dict):
            yield from _declaration(tool.get("definition"), f"{place}.tool.definition")
            tool = {name: each for name, each in tool.items() if name != "definition"}
            block = {**block, "tool": tool}
        yield from _undocumented(block, place)


def _undocumented(value: object, path: str) -> Iterator[NamedModel]:
    """Yield the fields inside a value, at any depth, that are called like a model and have no documented meaning."""
    places = [(path, value)]
    while places:
        path, value = places.pop()
        if isinstance(value, list):
            places += [(f"{path}[{i}]", each) for i, each in enumerate(value) if isinstance(each, (dict, list))]
        elif isinstance(value, dict):
            for name, each in value.items():
                if name in CONTENT or each is None:
                    continue
                if PART_OF_NAMES in name.casefold():
                    yield NamedModel(_member(path, name), None)
                elif isinstance(each, (dict, list)):
                    places.append((_member(path, name), each))


def _member(path: str, name: str) -> str:
    return member_path(path, name).removeprefix(".")
