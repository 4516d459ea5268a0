"""Statements of the documents agree with the code."""

import dataclasses
import json
import re
import subprocess
import tomllib
from pathlib import Path

from django.core.management import get_commands

from keys.hygiene import conditions
from messages_api.backend.protocol.profile import Profile
from messages_api.models.presets import PRESETS
from tests.support import ROOT


def variables_of_settings() -> set[str]:
    source = (ROOT / "project" / "settings.py").read_text()
    return set(re.findall(r'env\.(?:str|list|flag|count|seconds|choice)\(\s*"([A-Z_]+)"', source))


def test_every_setting_is_documented_and_in_the_example() -> None:
    documented = set(re.findall(r"^\| `([A-Z_]+)` \|", (ROOT / "docs/configuration.md").read_text(), flags=re.M))
    example = set(re.findall(r"^#? ?([A-Z_]+)=", (ROOT / ".env.example").read_text(), flags=re.M))

    assert documented == variables_of_settings()
    assert example == variables_of_settings()


def tracked_files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def test_every_path_that_make_and_the_documents_name_exists() -> None:
    named = re.compile(
        r"(?<![\w/.-])(?:audit|bench|docs|keys|lib|messages_api|project|requirements|staff|tests)/[\w/.-]*\w/?(?![\w*])"
    )
    documents = [
        ROOT / "Makefile",
        ROOT / "tests/conftest.py",
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/*.md"),
        *ROOT.glob("tests/*.md"),
    ]

    missing = [
        f"{document.relative_to(ROOT)}: {path}"
        for document in documents
        for path in named.findall(document.read_text())
        if not (ROOT / path).exists() and not (document.parent / path).exists()
    ]
    assert missing == []


def test_every_command_that_the_documents_name_exists() -> None:
    documents = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("tests/*.md"), *ROOT.glob("tests/*/*.md")]

    named = {name for path in documents for name in re.findall(r"manage\.py ([a-z_]+)", path.read_text())}
    targets = {name for path in documents for name in re.findall(r"`make ([a-z-]+)`", path.read_text())}
    assert named <= get_commands().keys()
    assert targets <= set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.M))


def test_every_module_with_strict_types_exists() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    strict = next(each for each in project["tool"]["mypy"]["overrides"] if each.get("disallow_untyped_defs"))

    paths = [ROOT / name.removesuffix(".*").replace(".", "/") for name in strict["module"]]
    assert [path for path in paths if not path.is_dir() and not path.with_suffix(".py").exists()] == []


def test_no_file_names_a_package_index() -> None:
    address = re.compile(
        rb'--(?:extra-)?index-url|registry *= *"?https?:|"resolved": *"https?:|https?://[^ "]+\.(?:whl|tar\.gz|tgz)'
    )

    found = [path for path in tracked_files() if path != Path(__file__) and address.search(path.read_bytes())]

    assert found == []


def test_every_pinned_package_has_a_hash() -> None:
    for path in (ROOT / "requirements").glob("*.txt"):
        pins = re.findall(r"^\S+==\S+ \\\n {4}--hash=sha256:", path.read_text(), flags=re.M)
        assert len(pins) == len(re.findall(r"^\S+==", path.read_text(), flags=re.M)) > 0


def test_the_table_of_presets_and_profile_fields_is_true() -> None:
    text = (ROOT / "docs" / "dialects.md").read_text()
    told = dict(re.findall(r"^\| `([a-z.]+)` \| ((?:`[^|]*`(?:, )?)+|nothing) \|$", text, flags=re.M))

    for name, (_, differs) in PRESETS.items():
        expected = ", ".join(f"`{field}: {json.dumps(value)}`" for field, value in differs.items()) or "nothing"
        assert told[name] == expected
    assert {field.name for field in dataclasses.fields(Profile)} <= set(re.findall(r"^\| `(\w+)` \|", text, flags=re.M))


def test_the_badges_of_keys_are_described() -> None:
    tables = re.findall(r"^\| (\*.+?) \|", (ROOT / "docs" / "keys.md").read_text(), flags=re.M)

    told = {badge for names in tables for badge in re.findall(r"\*([^*]+)\*", names)}
    assert told == {condition.badge for condition in conditions.NAMED.values()}


def test_the_versions_of_clients_are_those_of_the_lock_files() -> None:
    rows = re.findall(r"^\| [^|]*\(`([^`]+)`\)[^|]* \| ([\d.]+) \|", (ROOT / "docs/clients.md").read_text(), flags=re.M)
    npm = json.loads((ROOT / "tests/clients/package-lock.json").read_text())["packages"]
    requirements = "".join((ROOT / "requirements" / name).read_text() for name in ("clients.txt", "dev.txt"))
    locked = dict(re.findall(r"^([a-z0-9-]+)(?:\[[a-z,]+\])?==(\S+)", requirements, re.M))  # the last one counts
    of_npm = {name.removeprefix("node_modules/"): package.get("version") for name, package in npm.items()}

    assert len(rows) >= 6
    # A name can be a package of both: each row names one of the two versions, and each version has a row.
    assert {(name, version) for name, version in rows} == {
        (name, versions[name]) for name, _ in rows for versions in (locked, of_npm) if name in versions
    }
