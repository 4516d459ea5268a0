"""A clock of processes that a test steps, with libfaketime. Their monotonic clock runs on, as on a machine."""

from pathlib import Path

LIBRARIES = "x86_64-linux-gnu", "aarch64-linux-gnu"
READ_EVERY_S = 1


class FaketimeMissing(Exception):
    """libfaketime is not installed (Debian's package faketime)."""


class SteppedClock:
    """The clock of the processes that start with its `environment`. Raise FaketimeMissing without the library."""

    def __init__(self, folder: Path) -> None:
        found = [path for name in LIBRARIES for path in Path("/usr/lib", name, "faketime").glob("libfaketimeMT.so.1")]
        if not found:
            raise FaketimeMissing
        self._file = folder / "clock"
        self.step_to(0)
        self.environment = {
            "LD_PRELOAD": str(found[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": str(READ_EVERY_S),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",  # with it, a change of threads takes 40 ms
            "PYTHONPATH": str(Path(__file__).parent / "faketime"),
        }

    def step_to(self, offset_s: int) -> None:
        """Set the clock to the machine's clock plus an offset. The processes notice after `READ_EVERY_S`."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{offset_s:+d}\n")
        new.replace(self._file)
