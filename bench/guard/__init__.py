"""The guard: the CPU time of a request as a ratio to a fixed relay, against a committed baseline."""
