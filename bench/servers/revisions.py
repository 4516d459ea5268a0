"""Checkouts of earlier revisions, each in a git worktree of the scratch folder, with an environment that fits."""

import hashlib
import re
import subprocess
import sys
from pathlib import Path

from bench.servers.definitions import BenchError

ROOT = Path(__file__).resolve().parents[2]
INSTALL_WITHIN_S = 900


def checkout(revision: str, work: Path) -> Path:
    """Return the folder of a revision, which is kept for later runs."""
    commit = _git("rev-parse", "--verify", f"{revision}^{{commit}}")
    folder = work / "revisions" / commit[:12]
    if not (folder / "manage.py").exists():
        _git("worktree", "prune")
        _git("worktree", "add", "--detach", "--force", str(folder), commit)
    return folder


def python_of(folder: Path, work: Path) -> Path:
    """Return an interpreter with the packages of a checkout: this one if its versions are the same, else a new one."""
    wanted = _pins(folder / "requirements/run.txt")
    if wanted.items() <= _pins(ROOT / "requirements/run.txt").items():
        return Path(sys.executable)
    name = hashlib.sha256(repr(sorted(wanted.items())).encode()).hexdigest()[:12]
    python = work / "environments" / name / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(python.parents[1])], check=True)
        install = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "-qq", "--require-hashes", "-r"]
        subprocess.run([*install, str(folder / "requirements/run.txt")], check=True, timeout=INSTALL_WITHIN_S)
    return python


def last_change_of_code() -> str:
    """Return the last commit that changed the gateway, not only its measurements, tests or documents."""
    return _git("log", "-1", "--format=%H", "--", ".", ":!bench", ":!tests", ":!docs", ":!*.md", ":!.ci", ":!Makefile")


def is_known(revision: str) -> bool:
    """Return whether the revision is in this clone."""
    try:
        _git("rev-parse", "--quiet", "--verify", f"{revision}^{{commit}}")
    except BenchError:
        return False
    return True


def describe(folder: Path) -> str:
    """Return the commit of a checkout, with a mark if files are changed."""
    done = subprocess.run(
        ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=10", "--exclude", "*"],
        capture_output=True, text=True,
    )  # fmt: skip
    return done.stdout.strip() or "unknown"


def _pins(file: Path) -> dict[str, str]:
    return dict(re.findall(r"^([A-Za-z0-9_.-]+(?:\[[^\]]*\])?)==(\S+)", file.read_text(), re.MULTILINE))


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True)
    if done.returncode:
        raise BenchError(f"git {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout.strip()
