"""Limit of open files of the process: each connection is one, and each API request has one more to its upstream."""

import logging
import resource

from django.conf import settings

from project.server.connections import Kind

OTHER_FILES = 256  # database, Redis, spool, log and code
logger = logging.getLogger(__name__)


def raise_limit() -> None:
    """Raise the soft limit to what the settings need, as far as the hard limit allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= _needed():
        return
    allowed = _needed() if hard == resource.RLIM_INFINITY else min(_needed(), hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < _needed():
        logger.warning("The limit of open files is %d: MAX_CONNECTIONS and its budgets need %d", allowed, _needed())


def affordable(budgets: dict[Kind, int], *, total: int) -> tuple[dict[Kind, int], int]:
    """Return budgets and total number of connections, scaled down to what the limit of open files allows.

    Without free files, no upstream can be contacted.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= _needed():
        return budgets, total
    share = max(0.0, soft - OTHER_FILES) / (_needed() - OTHER_FILES)
    return {kind: max(1, int(budget * share)) for kind, budget in budgets.items()}, max(4, int(total * share))


def _needed() -> int:
    return settings.MAX_CONNECTIONS + settings.MAX_API_REQUESTS + OTHER_FILES
