"""The definitions of servers, candidates and targets, and the committed baseline."""

from pathlib import Path

import pytest

from bench.guard import baseline
from bench.guard.slices import PATHS
from bench.measure.options import DEFAULT_FILES, HERE
from bench.report.tables import COLUMNS
from bench.servers.definitions import BenchError, expand, load

ALL_FILES = [*DEFAULT_FILES, HERE / "guard/guard.toml", HERE / "profiling/profile.toml"]


def test_the_committed_files_are_consistent() -> None:
    found = load(ALL_FILES)

    names = set(found.candidates)
    for candidate in found.candidates.values():
        assert not candidate.baseline_of or candidate.name == f"base-{candidate.baseline_of}"
        assert candidate.baseline_of in {"", *names}
    for target in found.targets:
        assert target.figure in COLUMNS[target.mode]
        assert {target.ratio_to, target.minus, *target.only} <= names | {"", "earlier"}
        assert (target.at_least is None) != (target.at_most is None)
    for server in found.servers.values():
        assert set(server.needs) <= set(found.servers)
        assert all((server.folder / name).exists() for name in server.files)


def test_an_entry_takes_over_fields_and_merges_tables(tmp_path: Path) -> None:
    file = tmp_path / "candidates.toml"
    file.write_text(
        '[servers.a]\ncommand = ["x"]\nenv = { A = "1", B = "2" }\n'
        '[servers.b]\nlike = "a"\nenv = { B = "3" }\n'
        '[candidates.c]\nserver = "b"\npath = "/"\nformat = "openai"\n'
    )

    server = load([file]).servers["b"]

    assert (server.command, server.env, server.folder) == (["x"], {"A": "1", "B": "3"}, tmp_path)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[servers.a]\nwrong = 1\n", "wrong"),
        ('[candidates.c]\nserver = "a"\npath = "/"\nformat = "openai"\n', "no server is named a"),
        ('[servers.a]\n[candidates.c]\nserver = "a"\npath = "/"\nformat = "other"\n', "format must be one of"),
    ],
)
def test_a_wrong_definition_is_an_error(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "candidates.toml").write_text(text)

    with pytest.raises(BenchError, match=problem):
        load([tmp_path / "candidates.toml"])


def test_a_variable_that_is_not_set_is_an_error() -> None:
    assert expand("${port} $${x}", {"port": "1"}, owner="a") == "1 ${x}"
    with pytest.raises(BenchError, match="MISSING_VARIABLE"):
        expand("${MISSING_VARIABLE}", {}, owner="a")


def test_the_baseline_is_of_this_relay_and_has_every_path() -> None:
    found = baseline.read()

    assert found.is_of_this_relay, "measure it again: python -m bench.guard --record"
    assert set(found.ratios) == set(PATHS)
