"""Texts about API keys: summaries, help texts, secret status, state changes and code snippets."""
