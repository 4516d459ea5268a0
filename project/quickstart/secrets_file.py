"""File with the secrets of an installation, readable by its owner only."""

import os
import re
import secrets
from pathlib import Path

from cryptography.fernet import Fernet

MAKERS = {
    "SECRET_KEY": lambda: secrets.token_urlsafe(48),
    "API_KEY_PEPPERS": lambda: secrets.token_urlsafe(48),
    "CREDENTIAL_ENCRYPTION_KEYS": lambda: Fernet.generate_key().decode(),
}
PRIVATE = 0o600
HEADER = "# Written by `make run`. Keep a copy: API keys and stored credentials do not work without these secrets.\n"
ASSIGNMENT = re.compile(r"^(?:export )?([A-Za-z_0-9]+)=(.*)$", re.MULTILINE)


def complete(path: Path, *, missing: set[str]) -> list[str]:
    """Generate the `missing` secrets, write them to the file and return their names.

    Secrets in the file are never replaced. An assignment without a value, such as `SECRET_KEY=`, is completed.
    """
    text = path.read_text() if path.exists() else HEADER
    given = {name for name, value in ASSIGNMENT.findall(text) if value.strip(" '\"")}
    written = [name for name in MAKERS if name in missing - given]
    if written:
        added = {name: MAKERS[name]() for name in written}
        if "HTTPS" not in given:
            added["HTTPS"] = "false"  # http:// on this machine, over which browsers do not send secure cookies
        _replace(path.resolve(), _with(text, added))
    elif path.exists():
        path.chmod(PRIVATE)
    return written


def _with(text: str, values: dict[str, str]) -> str:
    """Append assignments to the text of a file, and remove empty assignments of the same names."""
    kept = [line for line in text.splitlines() if (match := ASSIGNMENT.match(line)) is None or match[1] not in values]
    return "\n".join([*kept, *(f"{name}={value}" for name, value in values.items()), ""])


def _replace(path: Path, text: str) -> None:
    """Replace a file atomically. The new file is private from its creation."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.{os.getpid()}")
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE), "w") as file:
        file.write(text)
    new.replace(path)
