"""The committed baseline: for each path, the ratio of a request's CPU time to the relay's."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path

from bench.measure import machine
from bench.servers import revisions

FILE = Path(__file__).parents[1] / "baseline.json"
RELAY = Path(__file__).with_name("relay.py")


@dataclass
class Baseline:
    """What was measured, at which revision. `earlier_revision` is what `make bench` compares with.

    `relay` is the digest of the floor's code.
    """

    earlier_revision: str
    revision: str = ""
    ratios: dict[str, float] = field(default_factory=dict)
    us_per_request: dict[str, int] = field(default_factory=dict)
    relay: str = ""
    measured: str = ""
    machine: str = ""

    @property
    def is_of_this_relay(self) -> bool:
        return self.relay == relay_digest()


def read(file: Path = FILE) -> Baseline:
    return Baseline(**json.loads(file.read_text()))


def write(ratios: dict[str, float], us_per_request: dict[str, float], file: Path = FILE) -> None:
    """Replace the ratios by those that were measured now."""
    found = Baseline(
        earlier_revision=read().earlier_revision,
        revision=revisions.last_change_of_code(),
        ratios={name: round(ratio, 2) for name, ratio in ratios.items()},
        us_per_request={name: round(us) for name, us in us_per_request.items()},
        relay=relay_digest(),
        measured=date.today().isoformat(),
        machine=machine.describe(),
    )
    file.write_text(json.dumps(asdict(found), indent=2) + "\n")


def relay_digest() -> str:
    return hashlib.sha256(RELAY.read_bytes()).hexdigest()[:16]
