"""
`make bench-peers`: compares the gateway with LiteLLM, Portkey, rolter and nginx, and judges the targets.

    python -m bench.peers [--mode plain|streams] [--rounds 5] [--only NAME,...] [--base COMMIT]

Installs the peers in the scratch folder (BENCH_WORK) first. About half an hour: plain requests at 1, 16 and 64
connections on all paths, on SQLite and on PostgreSQL, then 100, 300, 600 and 1,000 streams. Writes Markdown, too.
"""

import argparse
import sys
from pathlib import Path

from bench.measure import machine
from bench.measure.options import Options, work_folder
from bench.peers.installation import install
from bench.report import tables
from bench.report.results import read
from bench.report.targets import judge
from bench.run import measure
from bench.servers.definitions import BenchError, load

PEERS = {
    "litellm": ["litellm-chat", "litellm-messages"],
    "portkey": ["portkey"],
    "rolter": ["rolter-chat", "rolter-messages"],
}
PATHS = ["envelope-openai", "envelope-anthropic", "anthropic", "postgresql"]
EARLIER = ["base-envelope-openai", "base-envelope-anthropic", "base-anthropic"]
STREAM_LEVELS = [100, 300, 600, 1000]


def plans(arguments: argparse.Namespace, peers: list[str]) -> list[Options]:
    known = [name for peer in peers for name in PEERS[peer]]
    plain = arguments.only or ["direct", "nginx", *known, *PATHS, *EARLIER]
    streams = arguments.only or ["direct", "nginx", *known, *PATHS]
    both = {
        "plain": Options(mode="plain", only=plain, rounds=arguments.rounds, limit_s=1800, base=arguments.base),
        "streams": Options(
            mode="streams", only=streams, levels=STREAM_LEVELS, rounds=max(1, arguments.rounds // 2), limit_s=1800,
            base=arguments.base,
        ),
    }  # fmt: skip
    return [both[arguments.mode]] if arguments.mode else list(both.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mode", choices=("plain", "streams"), help="one of the two")
    parser.add_argument("--rounds", type=int, default=5, help="of plain requests; half as many of streams")
    parser.add_argument("--only", type=lambda text: text.split(","), help="names of candidates, by commas")
    parser.add_argument("--base", default="", help="commit of the earlier revision (default: that of baseline.json)")
    arguments = parser.parse_args()
    files: list[Path] = []
    notes: list[str] = []
    try:
        with machine.alone(work_folder()):
            for options in plans(arguments, install(work_folder())):
                run = measure(options)
                files.append(run.out)
                notes += run.notes
    except BenchError as error:
        sys.exit(str(error))
    results = read(files)
    judged = judge(results, load(Options().files).targets)
    print(tables.heading(results), tables.text_of(results), "\n".join(judged), sep="\n\n")
    print("\n".join(f"note: {note}" for note in dict.fromkeys(notes)))
    page = files[-1].with_suffix(".md")
    page.write_text("\n\n".join([tables.heading(results), tables.text_of(results, markdown=True), *judged]) + "\n")
    print("\n".join(map(str, [*files, page])))


if __name__ == "__main__":
    main()
