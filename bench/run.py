"""
Measures candidates side by side: `python -m bench.run plain|streams [--only direct,nginx,envelope-openai] ...`

The servers run on one core, the mock upstream and the load on another. All servers are up during the whole run; each
round measures every candidate once, the next round in the opposite order. Figures of a round are seconds apart, so
their ratios hold on a machine whose speed changes. Writes one line of JSON per measurement and prints tables.
"""

import json
import os
import shutil
import signal
import sys

from bench.measure import machine
from bench.measure.options import HERE, Options, parse, work_folder
from bench.measure.run import Run
from bench.report import tables
from bench.report.results import read
from bench.report.targets import judge
from bench.servers.definitions import BenchError, load


def default_base() -> str:
    """Return the commit that revisions are compared with."""
    return str(json.loads((HERE / "baseline.json").read_text())["earlier_revision"])


def pin_to_load_core(options: Options) -> None:
    """Keep this process and its clients off the core of the servers, and let SIGTERM end the servers, too.

    Raise BenchError if a program is missing.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if "/usr/sbin" not in os.environ["PATH"]:
        os.environ["PATH"] += os.pathsep + "/usr/sbin"  # nginx on Debian
    if missing := [name for name in ("taskset", "timeout") if not shutil.which(name)]:
        raise BenchError(f"not installed: {', '.join(missing)}")
    os.sched_setaffinity(0, {options.load_core})


def measure(options: Options) -> Run:
    """Measure and return the run. Raise BenchError if it cannot start."""
    options.base = options.base or default_base()
    pin_to_load_core(options)
    run = Run(options, load(options.files), work_folder())
    run.execute()
    return run


def main() -> None:
    options = parse(__doc__)
    try:
        with machine.alone(work_folder()):
            run = measure(options)
    except BenchError as error:
        sys.exit(str(error))
    results = read([run.out])
    print(tables.heading(results), tables.text_of(results), sep="\n\n")
    print("\n".join(["", *judge(results, load(options.files).targets)]))
    print("\n".join(f"note: {note}" for note in run.notes))
    print(f"\n{run.out}")
    sys.exit(0 if run.is_complete else 1)


if __name__ == "__main__":
    main()
