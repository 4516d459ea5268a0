"""The environment of a test run, set before the settings are read: an installation far from the developer's.

Loaded with `-p tests.environment` (pyproject.toml). `DATABASE_URL` may be given to run the same tests on PostgreSQL.
"""

import os
import tempfile

STATE_DIR = tempfile.mkdtemp(prefix="messages-gateway-tests-")

os.environ.update(
    {
        "ENV_FILE": os.path.join(STATE_DIR, "no-such-file"),
        "SECRET_KEY": "for-tests-only-for-tests-only-for-tests-only-for-tests-only",
        "API_KEY_PEPPERS": "for-tests-only-pepper-one-for-tests-only,for-tests-only-pepper-two-for-tests-only",
        "CREDENTIAL_KEYS": "Zm9yLXRlc3RzLW9ubHktZm9yLXRlc3RzLW9ubHktMTI=",
        "STATE_DIR": STATE_DIR,
        "HTTPS": "false",
        "SNAPSHOT_TTL_S": "0",
    }
)
