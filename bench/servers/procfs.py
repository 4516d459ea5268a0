"""CPU time and memory of processes on Linux."""

import os
import time


def processes_below(roots: list[int]) -> list[int]:
    """Return all descendants of the given processes, without these."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat", "rb") as file:
                    stat = file.read()
            except OSError:
                continue
            parent = int(stat[stat.rfind(b")") + 2 :].split()[1])
            children.setdefault(parent, []).append(int(entry))
    found: list[int] = []
    remaining = list(roots)
    while remaining:
        below = children.get(remaining.pop(), [])
        found += below
        remaining += below
    return found


def cpu_seconds(pids: list[int]) -> float:
    """Return the CPU time of the processes, with that of threads that have ended."""
    return sum(map(_cpu_seconds, pids))


def _cpu_seconds(pid: int) -> float:
    try:
        return time.clock_gettime((~pid << 3) | 2)  # the kernel's number of another process's CPU-time clock
    except OSError:
        return 0.0  # it has ended


def resident_mb(pids: list[int]) -> float:
    """Return the proportional set size, in which shared pages count once."""
    return sum(_kib(pid, "smaps_rollup", "Pss:") for pid in pids) / 1024


def peak_mb(pids: list[int]) -> float:
    """Return the highest resident memory since the last reset_peak(), added up over the processes."""
    return sum(_kib(pid, "status", "VmHWM:") for pid in pids) / 1024


def reset_peak(pids: list[int]) -> None:
    for pid in pids:
        try:
            with open(f"/proc/{pid}/clear_refs", "w") as file:
                file.write("5")
        except OSError:
            pass


def _kib(pid: int, name: str, field: str) -> int:
    try:
        with open(f"/proc/{pid}/{name}") as file:
            return next((int(line.split()[1]) for line in file if line.startswith(field)), 0)
    except OSError:
        return 0
