"""Cases of `cases.jsonl` that the gateway does not handle yet. A listed case that passes fails its test."""

EXPECTED_FAILURES: tuple[str, ...] = (
    "e-context-management-beta-envelope",
    "e-metadata-null-user-envelope",
    "n-empty-user-o-anthropic",
    "r-mistral-user-after-tool-anthropic",
    "r-skip-makes-user-user-anthropic",
    "r-tool-addition-anthropic",
    "r-tool-addition-user-anthropic",
    "r-tool-id-40-anthropic",
)
