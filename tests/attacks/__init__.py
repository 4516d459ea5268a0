"""Attacks: what a client, an upstream, a reader, a record or a login does to hurt others, and what holds."""
