"""The environment of a test run, set before the settings are read, without settings of the developer.

Loaded with `-p tests.support.environment` (pyproject.toml). With `TEST_DATABASE=postgresql` the run gets a PostgreSQL
of its own. With `REQUIRE_REAL_PARTS=1` a missing part is a failure, not a reason to skip.
"""

import atexit
import os
import shutil
import tempfile

from tests.support.postgres import PostgresCluster, PostgresMissing

STATE_DIR = tempfile.mkdtemp(prefix="messages-gateway-tests-")
REQUIRES_REAL_PARTS = os.environ.get("REQUIRE_REAL_PARTS") == "1"
missing_database: str | None = None
"""Reason why this run has no database, or None."""


def _start_postgres() -> str:
    """Start a cluster that ends with this process. Return its URL."""
    cluster = PostgresCluster()
    cluster.start()
    atexit.register(cluster.remove)
    return cluster.url


if os.environ.get("TEST_DATABASE") == "postgresql":
    try:
        os.environ["DATABASE_URL"] = _start_postgres()
    except PostgresMissing:
        missing_database = "PostgreSQL is not installed"
else:
    os.environ.pop("DATABASE_URL", None)

os.environ.update(
    {
        "ENV_FILE": os.path.join(STATE_DIR, "no-such-file"),
        "SECRET_KEY": "for-tests-only-for-tests-only-for-tests-only-for-tests-only",
        "API_KEY_PEPPERS": "for-tests-only-pepper-one-for-tests-only,for-tests-only-pepper-two-for-tests-only",
        "CREDENTIAL_ENCRYPTION_KEYS": "Zm9yLXRlc3RzLW9ubHktZm9yLXRlc3RzLW9ubHktMTI=",
        "STATE_DIR": STATE_DIR,
        "HTTPS": "false",
        "CONFIG_CACHE_TTL_S": "0",
        "MODEL_LIST_INTERVAL_S": "0",  # tests count the requests that an upstream receives
    }
)
os.mkdir(os.path.join(STATE_DIR, "static"))  # WhiteNoise warns if the folder is missing
atexit.register(shutil.rmtree, STATE_DIR, ignore_errors=True)
