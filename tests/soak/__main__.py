"""Run all scenarios, write the report, and fail if a promise was broken: `make soak`.

`python -m tests.soak [name …]` runs the named scenarios only and prints their results instead.
"""

import os
import sys
import time
from pathlib import Path

import django

from tests.support import environment  # noqa: F401  # before the settings are loaded

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
django.setup()

from tests.soak import report  # noqa: E402  # requires the loaded apps
from tests.soak.accounts import ScenarioRun  # noqa: E402
from tests.soak.host import Host  # noqa: E402
from tests.soak.program import PROGRAM, SoakScenario  # noqa: E402
from tests.soak.report import ScenarioReport  # noqa: E402

REPORT = Path(__file__).parent.parent.parent / "docs" / "soak.md"


def main(names: list[str]) -> int:
    """Return the exit status."""
    started_at = time.monotonic()
    scenarios = [scenario for scenario in PROGRAM if not names or scenario.name in names]
    with Host(fsync=True) as host:
        played = [_play(scenario, host) for scenario in scenarios]
    took_s = time.monotonic() - started_at
    if names:
        sys.stdout.write(report.text_of(played, took_s=took_s))
    else:
        report.write(REPORT, played, took_s=took_s)
    return 1 if any(each.broken for each in played) else 0


def _play(scenario: SoakScenario, host: Host) -> ScenarioReport:
    runs: list[ScenarioRun] = []
    for number in range(1, scenario.runs + 1):
        started_at = time.monotonic()
        run = scenario.run(host, **scenario.large)
        runs.append(run)
        verdict = "; ".join(run.broken) or "kept"
        sys.stdout.write(
            f"{scenario.name} {number}/{scenario.runs}: {time.monotonic() - started_at:.0f} s, {verdict}\n"
        )
        sys.stdout.flush()
    return ScenarioReport(scenario, runs)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
