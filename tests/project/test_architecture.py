"""Import rules: the graph of the packages, without circles, and the libraries that each package may use."""

import ast
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.support import ROOT

WHOLE = ("audit", "lib", "staff")
DIVIDED = ("keys", "messages_api", "project")
"""Each folder and each module of these apps is a package of its own."""

IMPORTS: dict[str, set[str]] = {
    "audit": set(),
    "keys/access": {"keys/budgets", "keys/domain", "keys/errors", "keys/limits", "keys/models", "lib"},
    "keys/admin": {
        "audit",
        "keys/bills",
        "keys/budgets",
        "keys/display",
        "keys/domain",
        "keys/forms",
        "keys/hygiene",
        "keys/models",
        "keys/pages",
        "keys/pricing",
        "keys/reports",
        "lib",
    },
    "keys/apps": set(),
    "keys/bills": {"audit", "keys/models", "keys/pricing", "lib"},
    "keys/budgets": {"keys/domain", "keys/errors", "keys/models", "lib"},
    "keys/display": {"keys/domain", "keys/models"},
    "keys/domain": {"lib"},
    "keys/errors": {"keys/domain"},
    "keys/forms": {
        "keys/bills",
        "keys/display",
        "keys/domain",
        "keys/models",
        "keys/pricing",
        "keys/reports",
        "lib",
    },
    "keys/hygiene": {"keys/models", "keys/pricing", "lib"},
    "keys/limits": {"keys/domain", "keys/errors", "lib"},
    "keys/management": {
        "audit",
        "keys/bills",
        "keys/display",
        "keys/domain",
        "keys/forms",
        "keys/hygiene",
        "keys/models",
        "keys/reports",
        "keys/usage",
        "keys/verification",
        "lib",
    },
    "keys/models": {"keys/domain", "lib"},
    "keys/notifications": {"keys/models"},
    "keys/pages": {
        "audit",
        "keys/budgets",
        "keys/display",
        "keys/domain",
        "keys/forms",
        "keys/hygiene",
        "keys/models",
        "keys/pricing",
        "keys/reports",
        "keys/usage",
        "lib",
    },
    "keys/pricing": {"keys/domain", "keys/errors", "keys/models", "lib"},
    "keys/reports": {"keys/budgets", "keys/domain", "keys/limits", "keys/models", "lib"},
    "keys/templatetags": {"keys/admin", "keys/domain", "keys/hygiene", "keys/models", "keys/reports", "lib"},
    "keys/usage": {"keys/budgets", "keys/domain", "keys/errors", "keys/models", "keys/pricing", "lib"},
    "keys/verification": {"keys/bills", "keys/models", "keys/reports", "keys/usage", "lib"},
    "lib": set(),
    "messages_api/admin": {
        "lib",
        "messages_api/backend",
        "messages_api/errors",
        "messages_api/intake",
        "messages_api/models",
        "messages_api/routing",
    },
    "messages_api/apis": {"messages_api/backend"},
    "messages_api/apps": set(),
    "messages_api/backend": {"lib"},
    "messages_api/endpoints": set(),
    "messages_api/error_responses": {"lib", "messages_api/apis", "messages_api/backend", "messages_api/endpoints"},
    "messages_api/errors": set(),
    "messages_api/gateway": {
        "keys/access",
        "keys/budgets",
        "keys/errors",
        "keys/limits",
        "keys/models",
        "keys/pricing",
        "keys/usage",
        "lib",
        "messages_api/backend",
        "messages_api/errors",
        "messages_api/intake",
        "messages_api/routing",
        "messages_api/watcher",
    },
    "messages_api/intake": {"lib", "messages_api/backend", "messages_api/errors"},
    "messages_api/management": {"lib"},
    "messages_api/middleware": {"lib", "messages_api/error_responses"},
    "messages_api/models": {"lib", "messages_api/backend"},
    "messages_api/openapi": {
        "lib",
        "messages_api/apis",
        "messages_api/backend",
        "messages_api/intake",
        "messages_api/self_service",
        "messages_api/views",
    },
    "messages_api/routing": {
        "keys/access",
        "lib",
        "messages_api/backend",
        "messages_api/errors",
        "messages_api/models",
    },
    "messages_api/self_service": {
        "keys/access",
        "keys/reports",
        "messages_api/backend",
        "messages_api/errors",
        "messages_api/routing",
    },
    "messages_api/urls": {"messages_api/apis", "messages_api/openapi", "messages_api/views"},
    "messages_api/views": {
        "lib",
        "messages_api/apis",
        "messages_api/backend",
        "messages_api/gateway",
        "messages_api/intake",
        "messages_api/routing",
        "messages_api/self_service",
    },
    "messages_api/watcher": {"lib"},
    "project/apps": {"project/checks"},
    "project/bind": set(),
    "project/checks": {"lib", "project/bind", "project/settings"},
    "project/environment": set(),
    "project/management": {
        "keys/pricing",
        "lib",
        "messages_api/models",
        "project/quickstart",
        "project/settings",
    },
    "project/middleware": {"audit", "lib", "messages_api/error_responses", "messages_api/views"},
    "project/postgresql": {"lib"},
    "project/quickstart": {
        "keys/domain",
        "keys/models",
        "messages_api/management",
        "messages_api/models",
        "project/bind",
        "project/checks",
        "project/settings",
    },
    "project/server": {
        "keys/access",
        "keys/errors",
        "keys/hygiene",
        "keys/limits",
        "keys/notifications",
        "keys/pricing",
        "keys/usage",
        "lib",
        "messages_api/errors",
        "messages_api/gateway",
        "messages_api/routing",
        "messages_api/watcher",
        "project/checks",
    },
    "project/settings": {"project/environment"},
    "project/site": {
        "keys/hygiene",
        "keys/models",
        "keys/pages",
        "keys/pricing",
        "keys/reports",
        "keys/usage",
        "lib",
        "messages_api/models",
        "messages_api/routing",
        "project/checks",
        "staff",
    },
    "project/urls": {"project/server"},
    "project/wsgi": {"project/server"},
    "staff": {"audit", "keys/domain", "keys/models", "lib", "messages_api/models"},
}
"""Each package and the packages that it imports. Unused edges fail as missing ones do."""

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
    "messages_api/backend/protocol": {"django", "requests", "httptools", "time", "random", "secrets", "os"},
}
ONLY_IN = {
    "tests": {"project/management/commands/fake_upstream.py"},
    "requests": {
        "messages_api/backend/destination.py",
        "messages_api/backend/exchange.py",
        "messages_api/backend/http_adapter.py",
        "messages_api/backend/http_messages.py",
        "messages_api/backend/opening.py",
        "messages_api/backend/response_body.py",
        "messages_api/backend/tls.py",
        "keys/notifications/delivery.py",
    },
    "httptools": {"messages_api/backend/response_parser.py"},
    "environ": {"project/environment.py", "project/settings.py"},
    # A catalog of 2,330 models, and pydantic: only in the process of `manage.py sync_prices`.
    "genai_prices": {"keys/pricing/catalog/genai_mapping.py", "keys/pricing/catalog/genai_matching.py"},
    "keys.pricing.catalog.genai_mapping": {"keys/pricing/catalog/genai_review.py"},
    "keys.pricing.catalog.genai_matching": {"keys/pricing/catalog/genai_review.py"},
    "keys.pricing.catalog.genai_review": {"project/management/commands/sync_prices.py"},
    "keys": {
        "keys",
        "project",
        "staff",
        "messages_api/gateway/admission.py",
        "messages_api/gateway/cost_bounds.py",
        "messages_api/gateway/count_tokens.py",
        "messages_api/gateway/demand.py",
        "messages_api/gateway/request.py",
        "messages_api/gateway/revocation.py",
        "messages_api/routing/route_table.py",
        "messages_api/routing/model_catalog.py",
        "messages_api/routing/preview.py",
        "messages_api/self_service/key.py",
        "messages_api/self_service/usage_query.py",
    },
    "rest_framework": {
        "keys/access/authentication.py",
        "messages_api/views.py",
        "messages_api/error_responses.py",
        "messages_api/openapi/views.py",
    },
    "drf_spectacular": {"messages_api/openapi/description.py", "messages_api/openapi/views.py"},
}
SIBLINGS = [
    ("messages_api/apis/envelope.py", "messages_api/apis/anthropic.py"),
    ("messages_api/backend/openai_adapter.py", "messages_api/backend/anthropic_adapter.py"),
]


# ---- The graph.


def test_each_package_imports_the_packages_that_are_listed() -> None:
    found = {package: set[str]() for package in sorted({package_of(name) for name in modules()} - {""})}
    for name, imported in module_graph().items():
        for other in imported:
            if package_of(name) != package_of(other):
                found[package_of(name)].add(package_of(other))

    new = [f"{package} -> {other}" for package in found for other in found[package] - IMPORTS.get(package, set())]
    unused = [f"{package} -> {other}" for package in IMPORTS for other in IMPORTS[package] - found.get(package, set())]
    assert sorted(new) == [], "not listed in IMPORTS"
    assert sorted(unused) == [], "listed in IMPORTS, and no longer there"
    assert sorted(found) == sorted(IMPORTS)


def test_no_modules_and_no_packages_import_each_other_in_a_circle() -> None:
    assert circles(module_graph()) == []
    assert circles(IMPORTS) == []


def test_circles_are_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set()}) == [["a", "b", "c"]]


@cache
def module_graph() -> dict[str, set[str]]:
    """Return each module with the modules of the project that it imports, for type checking alone too."""
    return {name: set(_imported_modules(tree_of(path))) - {name} for name, path in modules().items()}


def _imported_modules(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules())
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                if f"{node.module}.{alias.name}" in modules():
                    yield f"{node.module}.{alias.name}"
                elif node.module in modules():
                    yield node.module


def package_of(module: str) -> str:
    """Return `keys/usage` for `keys.usage.ledger`, and `lib` for all of it. The empty string for an app itself."""
    app, *inner = module.split(".")
    if app in WHOLE:
        return app
    return f"{app}/{inner[0]}" if inner else ""


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Return the strongly connected components of more than one node, by Tarjan's algorithm."""
    index: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(node: str) -> None:
        index[node] = lowest[node] = len(index)
        stack.append(node)
        for other in sorted(graph.get(node, ())):
            if other not in index:
                visit(other)
            if other in stack:
                lowest[node] = min(lowest[node], lowest[other])
        if lowest[node] == index[node]:
            component = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(component) > 1:
                found.append(sorted(component))

    for node in sorted(graph):
        if node not in index:
            visit(node)
    return found


# ---- Libraries, and what a module may do.


def test_a_module_imports_only_what_its_place_allows() -> None:
    wrong = []
    for path in modules().values():
        imported = set(imports(tree_of(path)))
        for place, forbidden in FORBIDDEN.items():
            if is_in(path, place):
                wrong += [(name_of(path), name) for name in imported for other in forbidden if is_within(name, other)]
        for library, places in ONLY_IN.items():
            if not any(is_in(path, place) for place in places):
                wrong += [(name_of(path), name) for name in imported if is_within(name, library)]
    assert wrong == []


def test_every_rule_is_needed() -> None:
    unused = [
        (library, place)
        for library, places in ONLY_IN.items()
        for place in places
        if not any(
            is_within(name, library)
            for path in modules().values()
            if is_in(path, place)
            for name in imports(tree_of(path))
        )
    ]
    assert unused == []
    assert [place for place in FORBIDDEN if not (ROOT / place).exists()] == []


def test_nothing_is_imported_inside_a_function() -> None:
    wrong = [
        (name_of(path), function.name)
        for path in modules().values()
        for function in ast.walk(tree_of(path))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef) and list(imports(function))
    ]
    assert wrong == []


def test_the_environment_is_read_in_the_settings_alone() -> None:
    wrong = []
    for path in modules().values():
        reads = [
            node
            for node in ast.walk(tree_of(path))
            if isinstance(node, ast.Attribute) and node.attr == "environ" and ast.unparse(node.value) == "os"
        ]
        # Programs name the settings module before settings exist.
        named = path.read_text().count('os.environ.setdefault("DJANGO_SETTINGS_MODULE"')
        if len(reads) > named and name_of(path) != "project/settings.py":
            wrong.append(name_of(path))
    assert wrong == []


@pytest.mark.parametrize("siblings", SIBLINGS, ids=lambda siblings: siblings[0])
def test_siblings_have_the_same_names_with_the_same_arguments(siblings: tuple[str, str]) -> None:
    first, second = (signatures(ROOT / path) for path in siblings)

    assert first == second


SHARED_CLASS_NAMES = {"Command", "Encoder"}
"""The name that Django requires of a command, and a name of siblings."""


def test_no_two_classes_have_the_same_name() -> None:
    names = Counter(
        node.name for path in modules().values() for node in ast.walk(tree_of(path)) if isinstance(node, ast.ClassDef)
    )

    repeated = {name for name, count in names.items() if count > 1 and name != "Meta"}
    assert repeated == SHARED_CLASS_NAMES


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


# ---- Reading the tree.


@cache
def modules() -> dict[str, Path]:
    """Return the path of each module of the project by its dotted name, without migrations."""
    return {
        name_of(path).removesuffix(".py").removesuffix("/__init__").replace("/", "."): path
        for app in (*WHOLE, *DIVIDED)
        for path in sorted((ROOT / app).rglob("*.py"))
        if "migrations" not in path.parts
    }


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_in(path: Path, place: str) -> bool:
    return name_of(path) == place or name_of(path).startswith(place + "/")


def is_within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()
