"""
`make bench`: compares this revision with an earlier one and the floor, in five minutes.

    python -m bench.compare [--base COMMIT] [--short] [--postgresql]

Plain requests on three paths at 1, 16 and 64 connections in five rounds, then 100 and 300 streams.
"""

import argparse
import dataclasses
import shutil
import sys

from bench.measure import machine
from bench.measure.options import Options, work_folder
from bench.report import tables
from bench.report.results import read
from bench.report.targets import judge
from bench.run import measure
from bench.servers.definitions import BenchError, load

PATHS = ["envelope-openai", "envelope-anthropic", "anthropic"]


def plans(arguments: argparse.Namespace) -> list[Options]:
    floor = ["direct", "nginx"] if shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/bin") else ["direct"]
    paths = PATHS[:1] if arguments.short else PATHS
    if arguments.postgresql:
        paths = ["postgresql"]
    both = [name for path in paths for name in (path, f"base-{path}")]
    plain = Options(mode="plain", only=[*floor, *both], seconds=1.0, warm_up_s=1.0, base=arguments.base)
    streams = dataclasses.replace(
        plain, mode="streams", only=[*floor, *both[:2], *both[-2:]], levels=[100, 300], rounds=1, chunks=100
    )
    if arguments.short:
        return [dataclasses.replace(plain, levels=[1, 16])]
    return [plain, streams]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="", help="commit of the earlier revision (default: that of baseline.json)")
    parser.add_argument("--short", action="store_true", help="one path, plain requests only: one minute")
    parser.add_argument("--postgresql", action="store_true", help="both revisions on PostgreSQL")
    arguments = parser.parse_args()
    files, notes = [], []
    try:
        with machine.alone(work_folder()):
            for options in plans(arguments):
                run = measure(options)
                files.append(run.out)
                notes += run.notes
    except BenchError as error:
        sys.exit(str(error))
    results = read(files)
    print(tables.heading(results), tables.text_of(results), sep="\n\n")
    print("\n".join(["", *judge(results, load(Options().files).targets)]))
    print("\n".join([*(f"note: {note}" for note in dict.fromkeys(notes)), "", *map(str, files)]))


if __name__ == "__main__":
    main()
