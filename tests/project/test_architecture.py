"""Who may import whom. The rules keep the way of a call readable: down once and back once."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import ROOT

PACKAGES = ("audit", "keys", "lib", "messages_api", "project", "staff")

FORBIDDEN = {
    "keys": {"messages_api", "project", "staff"},
    "keys/domain/raw_key.py": {"django", "rest_framework", "time", "datetime"},
    "lib/money.py": {"django", "rest_framework", "time", "datetime"},
    "messages_api": {"project", "staff"},
    "messages_api/views.py": {"keys", "django.db", "requests"},
    "messages_api/apis": {"keys", "django.db", "requests"},
    "messages_api/backend": {
        "keys",
        "rest_framework",
        "django.db",
        "messages_api.models",
        "messages_api.gateway.request",
    },
    "staff": {"project"},
    "messages_api/backend/protocol": {"django", "requests", "urllib3", "time", "random", "secrets", "os"},
}
ONLY_IN = {
    "tests": {"project/management/commands/fake_upstream.py"},
    "requests": {"messages_api/backend/exchange.py", "keys/notifications/delivery.py"},
    "urllib3": {"messages_api/backend/exchange.py", "messages_api/backend/connections.py"},
    "environ": {"project/environment.py", "project/settings.py"},
    "keys": {
        "keys",
        "project",
        "staff",
        "messages_api/gateway/admission.py",
        "messages_api/gateway/request.py",
        "messages_api/self_service/key.py",
    },
    "rest_framework": {
        "keys/access/authentication.py",
        "messages_api/views.py",
        "messages_api/error_responses.py",
        "messages_api/openapi/views.py",
    },
    "drf_spectacular": {"messages_api/openapi/description.py", "messages_api/openapi/views.py"},
}
SAME_FUNCTIONS = [
    ("messages_api/apis/envelope.py", "messages_api/apis/anthropic.py"),
    ("messages_api/backend/openai_adapter.py", "messages_api/backend/anthropic_adapter.py"),
]


def modules() -> list[Path]:
    return [
        path
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        if "migrations" not in path.parts
    ]


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_a_module_imports_only_what_its_place_allows(path: Path) -> None:
    imported = set(imports(ast.parse(path.read_text())))

    for place, forbidden in FORBIDDEN.items():
        if name_of(path) == place or name_of(path).startswith(place + "/"):
            assert not [name for name in imported for other in forbidden if is_within(name, other)]
    for library, places in ONLY_IN.items():
        if not any(name_of(path) == place or name_of(path).startswith(place + "/") for place in places):
            assert not [name for name in imported if is_within(name, library)]


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_nothing_is_imported_inside_a_function(path: Path) -> None:
    functions = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]

    assert not [function.name for function in functions if list(imports(function))]


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_the_environment_is_read_in_the_settings_alone(path: Path) -> None:
    if name_of(path) == "project/settings.py":
        return
    reads = [
        ast.unparse(node)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "os.environ"
    ]
    # Naming the settings module is the one thing that has to happen before there are settings.
    assert len(reads) <= path.read_text().count('os.environ.setdefault("DJANGO_SETTINGS_MODULE"')


@pytest.mark.parametrize("siblings", SAME_FUNCTIONS, ids=lambda siblings: siblings[0])
def test_siblings_have_the_same_names_with_the_same_arguments(siblings: tuple[str, str]) -> None:
    first, second = (signatures(ROOT / path) for path in siblings)

    assert first == second


def signatures(path: Path) -> dict[str, str]:
    """The public names of a module with their arguments; for a class, those of its public methods."""
    found = {}
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            found[node.name] = ast.unparse(node.args)
        elif isinstance(node, ast.ClassDef):
            for method in node.body:
                if isinstance(method, ast.FunctionDef) and not method.name.startswith("_"):
                    found[f"{node.name}.{method.name}"] = ast.unparse(method.args)
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id.isupper():
            found[node.targets[0].id] = "constant"
    return found
