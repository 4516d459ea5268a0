"""Text of the figures in the audit log: amounts as money, durations, shares and limits with their units."""

from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation

from audit.sentences import NOT_SET, Format
from keys.domain.amounts import format_amount
from lib import money


def _number(render: Callable[[Decimal], str]) -> Format:
    """Return a format for numbers, which an entry may have as text. Other values are shown as they are."""

    def text(value: object, subject: str) -> str:
        try:
            return render(Decimal(str(value)))
        except InvalidOperation:
            return str(value)

    return text


def _budget_amount(value: object, subject: str) -> str:
    """Format an amount of a budget. Its name starts with its unit."""
    unit = "tokens" if subject.startswith("tokens") else "usd"
    return _number(lambda number: format_amount(int(number), unit))(value, subject)


def _increase(value: object, subject: str) -> str:
    return NOT_SET if value in (0, "0") else _budget_amount(value, subject)


plain = _number(lambda number: f"{number.normalize():f}")
count = _number(lambda number: f"{int(number):,}")
percent = _number(lambda number: f"{number.normalize():f} %")
seconds = _number(lambda number: f"{number.normalize():f} s")
minutes = _number(lambda number: f"{number.normalize():f} min")
days = _number(lambda number: f"{number.normalize():f} days")
tokens = _number(lambda number: f"{int(number):,} tokens")
each = _number(lambda number: f"{money.dollars(int(number))} each")
per_million = _number(lambda number: f"{money.dollars(int(number))} per million tokens")

PRICES = ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h", "audio_input", "audio_output")
LIMITS: dict[str, Format] = {
    "requests_per_minute": count,
    "tokens_per_minute": count,
    "concurrent_requests": count,
}
FORMATS: dict[str, Mapping[str, Format]] = {
    "keys.APIKey": LIMITS,
    "keys.Team": LIMITS,
    "keys.Budget": {
        "amount": _budget_amount,
        "temporary_increase": _increase,
        "alert_threshold_percent": percent,
    },
    "keys.KeyRequest": {
        **LIMITS,
        "expires_in_days": days,
        "budget_amount": _number(lambda number: money.dollars(int(number))),
    },
    "keys.ModelPrice": {
        **{f"{name}_price": per_million for name in PRICES},
        "web_search_price": each,
        "max_output_tokens": tokens,
    },
    "keys.PriceModifier": {"input_factor": plain, "output_factor": plain},
    "keys.NegotiatedFactor": {"factor": plain},
    "keys.Bill": {"line_count": count},
    "messages_api.Upstream": {
        "connect_timeout_s": seconds,
        "first_byte_timeout_s": seconds,
        "idle_timeout_s": seconds,
        "request_timeout_s": seconds,
        "continue_after_disconnect_s": seconds,
    },
    "messages_api.AlertRule": {
        "threshold": plain,
        "window_minutes": minutes,
        "min_requests": count,
        "ends_after_minutes": minutes,
    },
    "messages_api.RouteTarget": {"priority": count, "weight": count},
}
"""How the numbers of each audited model are shown."""
