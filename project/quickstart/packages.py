"""Check for missing packages. Standard library only, because it runs before Django can be imported.

`python -m project.quickstart.packages FILE…` exits with 1 and one line if packages are missing.
"""

import re
import sys
from importlib import metadata
from pathlib import Path

PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==", re.MULTILINE)


def find_missing(requirements: Path) -> list[str]:
    """Return the names of the packages in a requirements file that are not installed or lack files."""
    return [name for name in PIN.findall(requirements.read_text()) if not _is_whole(name)]


def _is_whole(name: str) -> bool:
    try:
        files = metadata.distribution(name).files or []
    except metadata.PackageNotFoundError:
        return False
    return all(Path(str(file.locate())).exists() for file in files if file.suffix != ".pyc")


def main(paths: list[str]) -> int:
    for path in paths:
        if missing := find_missing(Path(path)):
            print(f"Not installed: {', '.join(missing)}. Delete .venv and run `make run` again.", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
