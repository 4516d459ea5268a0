"""Profiles: where the CPU time of a request or of a chunk is spent, by package."""
