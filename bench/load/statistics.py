"""Percentiles of latencies."""

SHARES = {"p50": 0.5, "p99": 0.99, "max": 1.0}


def percentiles(name: str, values: list[float]) -> dict[str, float | None]:
    """Return the median, the 99th percentile and the maximum of seconds, in milliseconds. Sort the values."""
    prefix = f"{name}_" if name else ""
    if not values:
        return dict.fromkeys(f"{prefix}{share}" for share in SHARES)
    values.sort()
    last = len(values) - 1
    seconds = {share: values[min(last, int(len(values) * part))] for share, part in SHARES.items()}
    return {f"{prefix}{share}": round(value * 1000, 2) for share, value in seconds.items()}
