"""A clock that a test sets."""


class Clock:
    """A replacement of `time.monotonic` for modules that accept one."""

    def __init__(self) -> None:
        self._now = 1_000.0

    def __call__(self) -> float:
        return self._now

    def forward(self, seconds: float) -> None:
        self._now += seconds
