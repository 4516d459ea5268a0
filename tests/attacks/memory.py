"""Memory of the workers of a gateway."""

from pathlib import Path

from tests.support.gateway import GatewayServer


def resident_mib(server: GatewayServer) -> list[float]:
    """Return the resident memory of each worker."""
    return _read_mib(server, "VmRSS")


def peak_mib(server: GatewayServer) -> list[float]:
    """Return the largest resident memory of each worker since `reset_peak`."""
    return _read_mib(server, "VmHWM")


def reset_peak(server: GatewayServer) -> None:
    for pid in server.worker_pids():
        Path(f"/proc/{pid}/clear_refs").write_text("5")


def _read_mib(server: GatewayServer, field: str) -> list[float]:
    status = [Path(f"/proc/{pid}/status").read_text() for pid in server.worker_pids()]
    return [int(text.split(f"{field}:")[1].split()[0]) / 1024 for text in status]
