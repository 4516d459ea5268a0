"""The machine: its description, its speed at the moment, and locks against a second measurement."""

import contextlib
import fcntl
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from bench.servers.definitions import BenchError


def describe() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return (
        f"{os.cpu_count()} x {model}, {memory_gb:.0f} GB, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}"
    )


@contextlib.contextmanager
def on_core(core: int) -> Iterator[None]:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def fixed_work_us(core: int, repeat: int = 5) -> int:
    """Return the median CPU time of a fixed piece of Python work on that core."""
    times = []
    with on_core(core):
        for _ in range(repeat):
            started = time.thread_time()
            for i in range(120):
                data = json.loads(json.dumps({"a": [i, {"b": str(i) * 5}], "c": {str(j): [j] for j in range(12)}}))
                sorted(data["c"].items(), key=lambda item: item[1][0])
            times.append(time.thread_time() - started)
    return round(statistics.median(times) * 1e6)


@contextlib.contextmanager
def alone(work: Path) -> Iterator[None]:
    """Hold the lock of the scratch folder. Raise BenchError if another measurement has it."""
    with open(work / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise BenchError(f"another measurement is running (its lock is {work / 'lock'})") from None
        if (load := os.getloadavg()[0]) > 0.7:
            say(f"the machine is busy (load {load:.1f}): only ratios within this run are of use")
        yield


def say(text: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)
