"""Reviews from `manage.py sync_prices`, started as a process of its own. The server imports no catalog."""

import logging
import threading

from django.conf import settings

from keys.pricing.catalog import proposals
from keys.pricing.catalog.proposals import PriceReview
from lib.child_process import Bounds, ChildFailed, run_python

logger = logging.getLogger(__name__)

COMMAND = ("sync_prices", "--json", "--skip-checks")
BOUNDS = Bounds(timeout_s=60.0, memory_bytes=1024**3, output_bytes=4 * 1024**2)
"""It takes two seconds and 150 MB, and two more seconds to rate 50,000 requests."""
WAIT_S = 20.0
"""For the review of another user."""
_one_at_a_time = threading.Lock()


class ReviewFailed(Exception):
    """The command gave no review. The message is for users; the log has the reason."""


def review_prices(csv: bytes | None = None) -> PriceReview:
    """Return the review of the catalog, or of a CSV file. One at a time in each worker. Raise ReviewFailed."""
    if not _one_at_a_time.acquire(timeout=WAIT_S):
        raise ReviewFailed("Another update is being prepared. Try again in a minute.")
    try:
        output = run_python(
            [
                str(settings.MANAGE_PY),
                "sync_prices",
                "--json",
                "--skip-checks",
                *(["--csv", "-"] if csv is not None else []),
            ],
            environment=settings.COMMAND_ENVIRONMENT,
            stdin=csv or b"",
            bounds=BOUNDS,
        )
        return proposals.decode(output)
    except (ChildFailed, OSError, ValueError) as error:
        logger.error("sync_prices failed: %s %s", error, getattr(error, "output", ""))
        raise ReviewFailed(
            "The update could not be prepared. Run manage.py sync_prices, or see the log for the reason."
        ) from error
    finally:
        _one_at_a_time.release()
