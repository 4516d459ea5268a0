"""`make soak`: play the whole programme, write the report, and fail if a promise was broken.

`python -m tests.soak [name …]` plays some parts only, and prints what they find instead.
"""

import os
import sys
import time
from pathlib import Path

import django

from tests.support import environment  # noqa: F401  # before the settings are read

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
django.setup()

from tests.soak import report  # noqa: E402  # needs the loaded apps
from tests.soak.books import Run  # noqa: E402
from tests.soak.programme import PROGRAMME, Part  # noqa: E402
from tests.soak.report import Played  # noqa: E402
from tests.soak.site import Site  # noqa: E402

REPORT = Path(__file__).parent.parent.parent / "docs" / "soak.md"


def main(names: list[str]) -> int:
    """Return the exit status."""
    begun = time.monotonic()
    parts = [part for part in PROGRAMME if not names or part.name in names]
    with Site(fsync=True) as site:
        played = [_play(part, site) for part in parts]
    took_s = time.monotonic() - begun
    if names:
        sys.stdout.write(report.text_of(played, took_s=took_s))
    else:
        report.write(REPORT, played, took_s=took_s)
    return 1 if any(each.broken for each in played) else 0


def _play(part: Part, site: Site) -> Played:
    runs: list[Run] = []
    for number in range(1, part.runs + 1):
        begun = time.monotonic()
        run = part.scene(site, **part.large)
        runs.append(run)
        verdict = "; ".join(run.broken) or "kept"
        sys.stdout.write(f"{part.name} {number}/{part.runs}: {time.monotonic() - begun:.0f} s, {verdict}\n")
        sys.stdout.flush()
    return Played(part, runs)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
