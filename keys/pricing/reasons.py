"""Why a request is unpriced, and why a line of its cost is not billed: codes of records, with their labels. Pure."""

from keys.domain.price_modifiers import SERVED

NO_PRICE = "no_price"
INVALID_PRICE = "invalid_price"
"""A modifier of the price was saved without validation."""
NO_WEB_SEARCH_PRICE = "no_web_search_price"
UNKNOWN = "unknown_{}"
"""For each dimension: the price has no modifier for the served value."""
UNKNOWN_REFUSAL_CATEGORY = "unknown_refusal_category"
AUDIO_IN_ITERATIONS = "audio_in_iterations"
FRACTIONAL_RATE = "fractional_rate"
COST_TOO_LARGE = "cost_too_large"
UNPRICED = {
    NO_PRICE: "no price of a model at the upstream was valid when the request started",
    INVALID_PRICE: "a modifier of the price is invalid",
    NO_WEB_SEARCH_PRICE: "the price has no price of web searches",
    **{UNKNOWN.format(name): f"the price has no modifier for the {name.replace('_', ' ')}" for name in SERVED},
    UNKNOWN_REFUSAL_CATEGORY: "it is unknown whether the category of the refusal is billed",
    AUDIO_IN_ITERATIONS: "it is unknown which model the audio tokens are of",
    FRACTIONAL_RATE: "the price times its factors is not a whole number of micro-dollars",
    COST_TOO_LARGE: "the cost is too large to be stored",
}
"""Reasons of unpriced requests."""

REFUSED = "refused_before_output"
FREE = "free"
UNBILLED = {
    REFUSED: "not billed: refusal before any output",
    FREE: "free",
}
"""Reasons of lines that are not billed."""
