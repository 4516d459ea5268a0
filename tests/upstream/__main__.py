"""Run the scripted upstream as a program: `python -m tests.upstream --port 9000`."""

import argparse
import sys

from . import command


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.upstream", description=__doc__)
    command.add_options(parser)
    command.run(parser.parse_args(), sys.stdout)


if __name__ == "__main__":
    main()
