"""
The guard: fails if the CPU time of a request grew by more than 15 % since `baseline.json` was measured.

    python -m bench.guard             compare, in one to two minutes; status 1 if a path is above the limit
    python -m bench.guard --record    measure the ratios again and write them to baseline.json

The gateway runs beside its revision of the baseline, if the clone has it: their ratio is the change. Otherwise the
change is that of the ratio to the relay. New processes are started and measured until the confidence interval of the
median is on one side of the limit, at most six times. A path above the limit is measured again from the beginning, and
fails if it is above it again.
"""

import argparse
import itertools
import statistics
import sys
from collections import defaultdict
from pathlib import Path

from bench.guard import baseline as baselines
from bench.guard.baseline import Baseline
from bench.guard.judgement import TOLERANCE, Verdict, interval_of_median, judge, judge_finally
from bench.guard.slices import PATHS, Slice, Slices
from bench.measure import machine
from bench.measure.machine import say
from bench.measure.options import HERE, Options, work_folder
from bench.run import pin_to_load_core
from bench.servers import revisions
from bench.servers.definitions import BenchError, load

FILES = [HERE / "candidates.toml", HERE / "guard/guard.toml"]
ROUNDS_PER_START = 4
STARTS, MAX_STARTS, RECORD_STARTS = 3, 6, 8
SLICE_S = 1.0

Measured = dict[str, list[Slice]]


def measure(paths: list[str], baseline: Baseline | None, *, files: list[Path], starts: int, slice_s: float) -> Measured:
    """Measure with so many processes, and with more while a comparison with the baseline is undecided."""
    options = Options(limit_s=900, files=[*FILES, *files])
    if baseline and revisions.is_known(baseline.revision):
        options.base = baseline.revision
    pin_to_load_core(options)
    slices = Slices(options, load(options.files), work_folder())
    found: Measured = defaultdict(list)
    try:
        slices.start()
        for number in itertools.count(1):
            slices.warm_up()
            for _ in range(ROUNDS_PER_START):
                for name in paths:
                    found[name].append(slices.measure(name, slice_s))
            is_undecided = baseline is not None and number < MAX_STARTS and _is_undecided(found, baseline)
            if number >= starts and not is_undecided:
                break
            slices.restart()
    finally:
        slices.stop()
    return found


def changes(slices: list[Slice], expected: float) -> list[float]:
    """Return this revision's CPU time as ratios to the earlier one's: measured beside it, or from the baseline."""
    direct = [slice_.to_earlier for slice_ in slices if slice_.to_earlier is not None]
    return direct or [slice_.to_relay / expected for slice_ in slices]


def _is_undecided(found: Measured, baseline: Baseline) -> bool:
    return any(judge(changes(found[name], baseline.ratios[name])) is Verdict.UNDECIDED for name in found)


def compare(baseline: Baseline, *, files: list[Path], slice_s: float) -> bool:
    """Print the comparison. Return whether all paths are within the limit."""
    paths = list(PATHS)
    for _ in range(2):
        found = measure(paths, baseline, files=files, starts=STARTS, slice_s=slice_s)
        above = []
        for name in paths:
            expected = baseline.ratios[name]
            print(_line(name, found[name], expected), flush=True)
            if judge_finally(changes(found[name], expected)) is Verdict.ABOVE:
                above.append(name)
        if not above:
            return True
        say(f"above the limit: {', '.join(above)}")
        paths = above
    return False


def _line(name: str, slices: list[Slice], expected: float) -> str:
    us, to_relay = (statistics.median(values) for values in zip(*((s.us, s.to_relay) for s in slices), strict=True))
    change = interval_of_median(changes(slices, expected))
    source = "baseline.json" if slices[0].to_earlier is None else "the earlier revision beside it"
    return (
        f"{name:9} {us:6.0f} µs per request, {to_relay:.1f} x the relay (baseline {expected:.1f}); against {source}: "
        f"{change.median - 1:+.1%} ({change.low - 1:+.1%} to {change.high - 1:+.1%}), limit {TOLERANCE - 1:+.0%}, "
        f"{len(slices)} slices"
    )


def record(file: Path, *, slice_s: float) -> None:
    found = measure(list(PATHS), None, files=[], starts=RECORD_STARTS, slice_s=slice_s)
    ratios = {name: statistics.median(slice_.to_relay for slice_ in slices) for name, slices in found.items()}
    us = {name: statistics.median(slice_.us for slice_ in slices) for name, slices in found.items()}
    baselines.write(ratios, us, file)
    print(file.read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", action="store_true", help="write the baseline in place of a comparison")
    parser.add_argument("--baseline", type=Path, default=baselines.FILE, help="the file")
    parser.add_argument("--slice-s", type=float, default=SLICE_S, help="seconds of one slice")
    parser.add_argument("--files", type=Path, nargs="*", default=[], help="more definitions: a planted slowdown")
    options = parser.parse_args()
    try:
        with machine.alone(work_folder()):
            if options.record:
                record(options.baseline, slice_s=options.slice_s)
                return
            baseline = baselines.read(options.baseline)
            if not baseline.is_of_this_relay:
                sys.exit("The relay has changed. Measure the baseline again: python -m bench.guard --record")
            is_within = compare(baseline, files=options.files, slice_s=options.slice_s)
    except BenchError as error:
        sys.exit(str(error))
    sys.exit(0 if is_within else 1)


if __name__ == "__main__":
    main()
