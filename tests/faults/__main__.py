"""Run all faults and write the results to `tests/README.md`: `python -m tests.faults`."""

import sys
from pathlib import Path

import pytest

if __name__ == "__main__":
    sys.exit(pytest.main([str(Path(__file__).parent), "-q", "--write-faults-table"]))
