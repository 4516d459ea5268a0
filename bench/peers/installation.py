"""Installs the peers at pinned versions in the scratch folder, through pip and npm as they are configured."""

import shutil
import subprocess
import sys
from pathlib import Path

from bench.measure.machine import say

VERSIONS = {"litellm": "litellm[proxy]==1.106.2", "rolter": "rolter==0.1.0", "portkey": "@portkey-ai/gateway@1.15.2"}
INSTALL_WITHIN_S = 1200


def install(work: Path) -> list[str]:
    """Install what is missing. Return the names of the peers that are there."""
    installers = {"litellm": _with_pip, "rolter": _with_pip, "portkey": _with_npm}
    found = []
    for name, installer in installers.items():
        stamp = work / f"installed-{name}"
        if not stamp.exists() or stamp.read_text() != VERSIONS[name]:
            say(f"install {VERSIONS[name]}")
            try:
                installer(name, work)
            except (OSError, subprocess.SubprocessError) as error:
                say(f"{name} is left out: {error}")
                continue
            stamp.write_text(VERSIONS[name])
        found.append(name)
    return found


def _with_pip(name: str, work: Path) -> None:
    python = work / name / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(work / name)], check=True)
    install = [str(python), "-m", "pip", "--disable-pip-version-check", "--no-input", "install", "-qq", VERSIONS[name]]
    subprocess.run(install, check=True, timeout=INSTALL_WITHIN_S)


def _with_npm(name: str, work: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise OSError("npm is not installed")
    (work / "npm").mkdir(exist_ok=True)
    options = ["--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error"]
    subprocess.run([npm, "install", "--prefix", str(work / "npm"), *options, VERSIONS[name]], check=True,
                   timeout=INSTALL_WITHIN_S)  # fmt: skip
