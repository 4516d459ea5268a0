"""
What a request may be billed for, at most: the samplings, tool uses and cache writes that its body allows.

An upstream of Anthropic's API may run tools, ask an advisor, compact the conversation and fall back to other models
within one request. Each of them is billed and none is bounded by `max_tokens`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from django.conf import settings

from keys.errors import CostUnbounded
from keys.pricing.max_cost import Demand, Sampling
from messages_api.backend.protocol.token_estimate import Size
from messages_api.backend.protocol.tools import CLIENT_TOOL_TYPES

COMPACTION = "compact_20260112"
BOUNDED_TOOLS = ("web_search_", "web_fetch_", "advisor_")
"""Prefixes of the types of tools whose definition has `max_uses`."""
UNBOUNDED_USES = 10
"""Uses that are reserved for a tool of the upstream whose definition cannot bound them, such as code execution."""
MAX_USES = 10_000
MAX_TOKENS = 10_000_000
DIMENSIONS = ("speed", "service_tier", "inference_geo")
STANDARD_TIERS = ("auto", "standard_only")
EXTENDING = ("tools", "mcp_servers", "fallbacks", "context_management", "compaction")
"""Fields that may lead to more than one sampling."""


def translated_demand(request: Mapping[str, Any], size: Size) -> Demand:
    """Return the demand at an upstream to which the request is translated: one sampling, without any of these."""
    return Demand(
        input_tokens=size.input_tokens,
        samplings=(Sampling(max_tokens=request["max_tokens"]),),
        cache_ttl=size.cache_ttl,
    )


def anthropic_demand(request: Mapping[str, Any], size: Size) -> Demand:
    """Return the demand at an upstream with Anthropic's API. Raise CostUnbounded, which names the field to change."""
    if not size.added_tools and request.keys().isdisjoint(EXTENDING):
        return replace(translated_demand(request, size), facts=_facts(request))
    tools = [*_objects(request.get("tools"), "tools"), *(("messages", tool) for tool in size.added_tools)]
    tools = [(param, tool) for param, tool in tools if _is_run_by_upstream(tool)]
    if request.get("mcp_servers"):
        tools.append(("mcp_servers", {"type": "mcp_toolset"}))
    uses = [_uses(tool, param) for param, tool in tools]
    used = [(param, tool, times) for (param, tool), times in zip(tools, uses, strict=True)]
    samplings = [
        Sampling(max_tokens=request["max_tokens"]),
        *_fallbacks(request),
        *(_advisor(tool, param, times) for param, tool, times in used if _type(tool).startswith("advisor_")),
        *([Sampling(max_tokens=None, param="compaction", may_respond=False)] if _may_compact(request) else []),
    ]
    return Demand(
        input_tokens=size.input_tokens + sum(times * _growth(tool) for _, tool, times in used),
        samplings=tuple(samplings),
        cache_ttl=size.cache_ttl,
        web_searches=sum(times for _, tool, times in used if _type(tool).startswith("web_search_")),
        facts=_facts(request),
    )


def _facts(fields: Mapping[str, Any]) -> dict[str, str]:
    found = {name: fields.get(name) for name in DIMENSIONS}
    return {name: value for name, value in found.items() if isinstance(value, str) and value not in STANDARD_TIERS}


def _objects(value: object, path: str) -> list[tuple[str, Mapping[str, Any]]]:
    items: Sequence[object] = value if isinstance(value, list) else []
    return [(f"{path}[{i}]", item) for i, item in enumerate(items) if isinstance(item, dict)]


def _type(tool: Mapping[str, Any]) -> str:
    kind = tool.get("type")
    return kind if isinstance(kind, str) else ""


def _is_run_by_upstream(tool: Mapping[str, Any]) -> bool:
    kind = _type(tool)
    return bool(kind) and not kind.startswith(CLIENT_TOOL_TYPES)


def _uses(tool: Mapping[str, Any], param: str) -> int:
    """Return how often the upstream may use a tool."""
    kind, uses = _type(tool), tool.get("max_uses")
    if type(uses) is int and uses >= 0:
        return min(uses, MAX_USES)
    if not kind.startswith(BOUNDED_TOOLS):
        return max(UNBOUNDED_USES, settings.SERVER_TOOL_USES)
    if not settings.SERVER_TOOL_USES:
        raise CostUnbounded(f"{param}.max_uses", f"Enter the maximum number of uses of {kind} in max_uses")
    return settings.SERVER_TOOL_USES


def _growth(tool: Mapping[str, Any]) -> int:
    """Return the tokens that each use of a tool may add to the input."""
    growth: int = settings.SERVER_TOOL_INPUT_TOKENS
    limit = _bounded(tool.get("max_content_tokens"))
    return growth if limit is None else limit


def _advisor(tool: Mapping[str, Any], param: str, uses: int) -> Sampling:
    model = tool.get("model")
    return Sampling(
        model=model if isinstance(model, str) else "",
        times=uses,
        max_tokens=_bounded(tool.get("max_tokens")),
        param=f"{param}.model",
        may_respond=False,
    )


def _bounded(limit: object) -> int | None:
    """Return a number of tokens of the body. None: it has none."""
    return min(limit, MAX_TOKENS) if type(limit) is int and limit >= 0 else None


def _fallbacks(request: Mapping[str, Any]) -> list[Sampling]:
    """Return the samplings of all hops: each of them may be billed up to its middle."""
    fallbacks = request.get("fallbacks")
    if isinstance(fallbacks, str):
        raise CostUnbounded("fallbacks", "Name the models of fallbacks: those of “default” are not known")
    found = []
    for i, each in enumerate(fallbacks if isinstance(fallbacks, list) else []):
        hop = each if isinstance(each, dict) else {"model": each}
        model, limit = hop.get("model"), _bounded(hop.get("max_tokens"))
        found.append(
            Sampling(
                model=model if isinstance(model, str) else "",
                max_tokens=request["max_tokens"] if limit is None else limit,
                param=f"fallbacks[{i}].model",
                facts=_facts(hop),
            )
        )
    return found


def _may_compact(request: Mapping[str, Any]) -> bool:
    management = request.get("context_management")
    edits = _objects(management.get("edits"), "edits") if isinstance(management, dict) else []
    return bool(request.get("compaction")) or any(_type(edit) == COMPACTION for _, edit in edits)
