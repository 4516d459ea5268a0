"""What was served, as the response states it: model, speed, tier, geography, iterations, refusal, and the usage object.

It is what the upstream bills. In a stream most of it is only in the first event, while counts come from the last.
"""

from lib.bounded_json import bounded, merged
from messages_api.backend.protocol import iterations
from messages_api.backend.protocol.iterations import Hop, hop_of, model_name
from messages_api.backend.protocol.types import JSONObject
from messages_api.backend.protocol.usage import Usage
from messages_api.backend.protocol.vendor_cost import vendor_cost_picos

FACTS = ("speed", "service_tier", "inference_geo")
_UNKNOWN = "?"
_MAX_FACT = 32


class Served:
    """Collects what was served from the events of a stream, or from a complete response. Keeps no content."""

    def __init__(self) -> None:
        self.model = ""
        """The model that responded, by the upstream's name for it. Empty: not stated."""
        self._facts: dict[str, str] = {}
        self._object: JSONObject = {}
        self._vendor_cost_picos: int | None = None
        self._is_redeemed = False
        self._pending: JSONObject | None = None
        """The last usage object of Chat Completions, not read yet: some servers send one with each chunk."""
        self._iterations: object = None
        self._hops: list[Hop] = []
        self._has_content = False
        """Whether content has begun, of the last hop."""
        self._refusal = ""

    # ---- Anthropic

    def read_message(self, message: JSONObject) -> None:
        """Read a complete message, which may be invalid."""
        self.read_model(message.get("model"))
        content = message.get("content")
        for block in content if isinstance(content, list) else ():
            self.read_block(block)
        self.read_usage(message.get("usage"))
        self.read_stop(message)

    def read_model(self, name: object) -> None:
        """Read the name of the model, unless it is known."""
        self.model = self.model or model_name(name)

    def read_block(self, block: object) -> None:
        """Read the start of a content block: a `fallback` block ends a hop."""
        if not isinstance(block, dict) or block.get("type") != "fallback":
            self._has_content = True
            return
        if len(self._hops) < iterations.MAX_HOPS:
            self._hops.append(hop_of(block, has_content=self._has_content))
            self.model = self._hops[-1].next_model or self.model
        self._has_content = False

    def read_usage(self, usage: object) -> None:
        """Read the usage object of a message or an event. What a later one does not state stays."""
        if isinstance(usage, dict):
            self._settle()
            self._merge(usage)

    def read_stop(self, stop: JSONObject) -> None:
        """Read the stop fields of a message or of a `message_delta`."""
        if stop.get("stop_reason") == "refusal":
            details = stop.get("stop_details")
            self._refusal = iterations.category_of(details.get("category") if isinstance(details, dict) else None)

    # ---- Chat Completions

    def read_chunk(self, chunk: JSONObject) -> None:
        """Read the model and the service tier of a complete response, or of a chunk that states them."""
        self.read_model(chunk.get("model"))
        if tier := fact_of(chunk.get("service_tier")):
            self._facts["service_tier"] = tier

    def read_latest_usage(self, usage: JSONObject) -> None:
        """Read a usage object that replaces the one before. It is not looked into until another one differs."""
        known, self._pending = self._pending, usage
        if known is not None and (known.keys() != usage.keys() or None in usage.values()):
            self._merge(known)

    # ---- what was read

    def fact(self, name: str) -> str:
        """Return one of the FACTS, empty where the response does not state it."""
        self._settle()
        return self._facts.get(name, "")

    @property
    def usage_object(self) -> JSONObject | None:
        """The upstream's own usage object: numbers, Booleans and short texts, merged over a stream."""
        self._settle()
        return self._object or None

    @property
    def vendor_cost_picos(self) -> int | None:
        self._settle()
        return self._vendor_cost_picos

    @property
    def has_redeemed_credit(self) -> bool:
        """Whether a fallback credit shifted cache writes to the price of reads, by an amount that is not reported."""
        self._settle()
        return self._is_redeemed

    @property
    def refusal_category(self) -> str:
        """The category of a refusal that ended the response: empty without one."""
        return self._refusal

    @property
    def refused_before_output(self) -> bool:
        return bool(self._refusal) and not self._has_content

    def billed(self, usage: Usage) -> Usage:
        """Return the tokens that are billed of a response with the counts `usage`: the sum of iterations, if any."""
        entries = self._entries(usage)
        return usage if entries is None else iterations.summed(entries, usage)

    def iterations_of(self, usage: Usage) -> list[JSONObject] | None:
        """Return a bounded number of iterations, which add up to what is billed; None where there are none."""
        entries = self._entries(usage)
        return None if entries is None else iterations.folded(entries)

    def _entries(self, usage: Usage) -> list[JSONObject] | None:
        entries = iterations.read_iterations(self._iterations, usage=usage, hops=self._hops)
        if entries is not None and self._refusal:
            last = iterations.last_message(entries)
            iterations.mark_refused(last, category=self._refusal, has_content=self._has_content)
        return entries

    def _settle(self) -> None:
        pending, self._pending = self._pending, None
        if pending is not None:
            self._merge(pending)

    def _merge(self, usage: JSONObject) -> None:
        for name in FACTS:
            if fact := fact_of(usage.get(name)):
                self._facts[name] = fact
        cost = vendor_cost_picos(usage)
        if cost or self._vendor_cost_picos is None:
            self._vendor_cost_picos = cost
        self._is_redeemed = self._is_redeemed or _has_redeemed(usage)
        if isinstance(usage.get("iterations"), list):
            self._iterations = usage["iterations"]
        read = bounded(usage)
        self._object = bounded(merged(self._object, read)) if self._object else read


def fact_of(value: object) -> str:
    """Return a fact as a word, empty where it is not stated. Anything else is `?`, an unknown value without a price."""
    if value is None or value == "":
        return ""
    found = iterations.word(value)
    return found if len(found) <= _MAX_FACT else _UNKNOWN


def _has_redeemed(usage: JSONObject) -> bool:
    credit = usage.get("fallback_credit")
    status = credit.get("status") if isinstance(credit, dict) else None
    return isinstance(status, dict) and status.get("type") == "redeemed"
