"""Recovery of the ledger in the test's own thread, as the writer's thread runs it."""

from keys.usage import recovery


def recover() -> None:
    """Replay all spools and settle all orphaned records."""
    recovery.replay_backlog()
    dead_spools = recovery.DeadSpools()
    while dead_spools.replay():
        pass
    recovery.settle_expired()
