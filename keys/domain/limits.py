"""Names and labels of the limits of a key or a team."""

REQUESTS = "requests_per_minute"
TOKENS = "tokens_per_minute"
CONCURRENCY = "concurrent_requests"
LIMITS = (REQUESTS, TOKENS, CONCURRENCY)
"""The fields of the access policy that hold them."""
LIMIT_LABELS = {
    REQUESTS: "requests per minute",
    TOKENS: "tokens per minute",
    CONCURRENCY: "concurrent requests",
}
