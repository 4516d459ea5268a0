"""Options of a measurement, and the command line of `python -m bench.run`."""

import argparse
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parents[1]
DEFAULT_FILES = [HERE / "candidates.toml", HERE / "peers.toml"]


@dataclass(kw_only=True)
class Options:
    mode: str = "plain"
    only: list[str] = field(default_factory=list)
    levels: list[int] = field(default_factory=lambda: [1, 16, 64])
    rounds: int = 5
    seconds: float = 2.0
    warm_up_s: float = 2.0
    delay_ms: int = 0
    chunks: int = 160
    interval_ms: int = 50
    ramp_s: float = 2.0
    body_bytes: int = 0
    gateway_core: int = 0
    load_core: int = 1
    limit_s: float = 900.0
    base: str = ""
    client: str = "auto"
    files: list[Path] = field(default_factory=lambda: list(DEFAULT_FILES))
    out: Path | None = None

    def as_text(self) -> dict[str, str]:
        return {name: str(value) for name, value in asdict(self).items() if name not in ("files", "out")}


def work_folder() -> Path:
    """Return the scratch folder: BENCH_WORK, or a folder of the user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    folder = Path(os.environ.get("BENCH_WORK") or f"{cache}/messages-gateway-bench").expanduser().resolve()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def parse(description: str | None, arguments: list[str] | None = None) -> Options:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=("plain", "streams"))
    parser.add_argument("--only", type=_words, default=[], help="names of candidates, by commas")
    parser.add_argument("--levels", type=_numbers, help="connections (default 1,16,64) or streams (default 100,300)")
    parser.add_argument("--rounds", type=int, help="default 5 (plain) or 2 (streams)")
    parser.add_argument("--seconds", type=float, help="of one plain measurement")
    parser.add_argument("--warm-up-s", type=float, help="of each candidate")
    parser.add_argument("--delay-ms", type=int, help="until the upstream responds")
    parser.add_argument("--chunks", type=int, help="of a stream")
    parser.add_argument("--interval-ms", type=int, help="between two chunks")
    parser.add_argument("--ramp-s", type=float, help="in which the streams are opened")
    parser.add_argument("--body-bytes", type=int, help="size of a request, about 1 KB without it")
    parser.add_argument("--gateway-core", type=int)
    parser.add_argument("--load-core", type=int)
    parser.add_argument("--limit-s", type=float, help="no measurement starts after this time")
    parser.add_argument("--base", help="commit of the earlier revision (default: that of baseline.json)")
    parser.add_argument("--client", choices=("auto", "wrk", "python"), help="client of plain requests")
    parser.add_argument("--files", type=Path, action="append", help="TOML files in place of the default ones")
    parser.add_argument("--out", type=Path, help="file for the lines of JSON")
    given: dict[str, Any] = {name: value for name, value in vars(parser.parse_args(arguments)).items() if value}
    if given["mode"] == "streams":
        given = {"levels": [100, 300], "rounds": 2} | given
    return Options(**given)


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _words(text: str) -> list[str]:
    return text.split(",")
