"""Replaces itself by the gateway of the checkout in the working directory: `gateway_process.py PORT`."""

import os
import sys
from pathlib import Path

CONFIGURATIONS = ("project/server/gunicorn.py", "project/gunicorn.py")
"""Where gunicorn's settings are, now and until commit fcd4d99."""


def main() -> None:
    configuration = next(name for name in CONFIGURATIONS if Path(name).exists())
    gunicorn = ["-m", "gunicorn", "-c", os.environ.get("BENCH_GUNICORN", configuration)]
    os.execv(sys.executable, [sys.executable, *gunicorn, "-b", f"127.0.0.1:{sys.argv[1]}"])


if __name__ == "__main__":
    main()
