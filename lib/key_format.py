"""Format of raw API keys, for the code that issues them and the code that recognizes them in texts."""

RAW_KEY_PREFIX = "mgw_"
