"""The cost of a response as the upstream itself reports it, in pico-dollars."""

import re
from decimal import ROUND_HALF_UP, Decimal

from messages_api.backend.protocol.types import JSONObject

PICOS = 12  # decimal places of a dollar
MAX_PICOS = 10**18  # a million dollars: more for one response is an error of the upstream
PICOS_PER_TICK = 100  # xAI reports 10⁻¹⁰ dollars
_DECIMAL = re.compile(r"[0-9]{1,7}(?:\.[0-9]{1,40})?")


def vendor_cost_picos(usage: JSONObject) -> int | None:
    """Return the `cost` of a usage object, None without one.

    It is what this upstream charges: of a request that OpenRouter sends with the customer's own key (`is_byok`) its fee
    alone.
    """
    cost = usage.get("cost")
    if isinstance(cost, dict):  # Perplexity
        cost = cost.get("total_cost")
    found = dollars_as_picos(cost)
    if found is None and type(ticks := usage.get("cost_in_usd_ticks")) is int:
        found = ticks * PICOS_PER_TICK
    return found if found is not None and 0 <= found <= MAX_PICOS else None


def dollars_as_picos(value: object) -> int | None:
    """Return an amount in dollars as pico-dollars, None for no amount.

    A number of JSON is a binary fraction here; its shortest representation is what the upstream wrote. More digits than
    pico-dollars have are noise of the upstream's own arithmetic, and are rounded half up.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str):
        if not _DECIMAL.fullmatch(value):
            return None
        amount = Decimal(value)
    elif not 0 <= value <= MAX_PICOS:  # NaN too
        return None
    else:
        amount = Decimal(repr(value))
    return int(amount.scaleb(PICOS).to_integral_value(ROUND_HALF_UP))
