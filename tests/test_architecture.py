"""Import rules and size limits of both packages (docs/how-it-is-built.md)."""

import ast
from collections.abc import Iterator, Mapping
from graphlib import TopologicalSorter
from importlib.util import resolve_name
from itertools import chain
from pathlib import Path

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from service.http.protocol import UVICORN_INTERNALS
from tests.conftest import ROOT

MAX_MODULE_LINES = 400
MAX_SERVICE_LINES = 9_024
MAX_TRAINING_LINES = 2_609
MAX_TRAINING_MODULES = 18
MAX_TOP_MODULES = 12
MAX_IMPORT_DEPTH = 7

MAY_IMPORT = {
    "arrays": (),
    "errors": (),
    "settings": (),
    "healthcheck": (),
    "keys": ("errors",),
    "cli": ("settings",),
    "telemetry": ("errors", "arrays"),
    "capacity": ("errors", "telemetry.record"),
    "images": ("errors", "arrays", "capacity", "telemetry.record"),
    "model": ("errors", "arrays", "settings", "capacity", "telemetry"),
    "protocols": (
        *("errors", "arrays", "settings", "keys"),
        *("capacity", "telemetry", "images", "model"),
    ),
    "http": (
        *("errors", "arrays", "settings", "keys"),
        *("capacity", "telemetry", "images", "model", "protocols"),
    ),
}
"""The other modules and folders of the service that each may import; `app` and `__main__`, which
are not listed, may import all."""

ONLY_IN = {
    "fastapi starlette uvicorn httpx httptools": ("http", "app", "__main__"),
    "uvicorn.protocols httptools": ("http.protocol",),
    "ai_edge_litert": ("model.engines.litert", "model.engines.flatbuffer"),
    "tensorflow keras": ("model.engines.tensorflow",),
    "fsspec": ("model.store",),
    "model_signing": ("model.artifact",),
    "grpc grpc_health grpc_reflection google": ("protocols.grpc",),
    "opentelemetry": ("telemetry.traces",),
    "pickle marshal shelve dill joblib": (),
}
"""Packages that only these modules and folders of the service may import."""

PUBLIC_UNDERSCORE_NAME = "os._exit"

UVICORN_CLASSES = (HttpToolsProtocol, RequestResponseCycle)


def modules_of(package: str) -> dict[str, Path]:
    """Return the source files of a package by module name, without generated ones."""
    names = {}
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if not path.stem.endswith("_pb2"):
            names[".".join(parts).removesuffix(".__init__")] = path
    return names


def parse(module: str, path: Path) -> ast.Module:
    """Return the syntax tree with relative imports resolved to absolute names."""
    tree = ast.parse(path.read_text())
    package = module if path.stem == "__init__" else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            name = "." * node.level + (node.module or "")
            node.module, node.level = resolve_name(name, package), 0
    return tree


def parsed(modules: Mapping[str, Path]) -> dict[str, ast.Module]:
    return {name: parse(name, path) for name, path in modules.items()}


SERVICE_FILES, TRAINING_FILES = modules_of("service"), modules_of("training")
SERVICE, TRAINING = parsed(SERVICE_FILES), parsed(TRAINING_FILES)


def imports(tree: ast.AST) -> set[str]:
    """Return the full dotted names that a tree imports, at any level of nesting."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def is_within(name: str, folders: tuple[str, ...] | list[str]) -> bool:
    return any(f"{name}.".startswith(f"{folder}.") for folder in folders)


def service_imports(module: str) -> set[str]:
    """Return the modules of the service that one of them imports."""
    names = imports(SERVICE[module])
    return (names | {name.rpartition(".")[0] for name in names}) & SERVICE_FILES.keys()


def private_names(tree: ast.AST) -> Iterator[str]:
    """Yield the names with a leading underscore that a module uses of other packages."""
    packages = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            packages |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
    for name in imports(tree):
        if any(is_private(part) for part in name.split(".")):
            yield name
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            name = ast.unparse(node)
            if name.split(".")[0] in packages and name != PUBLIC_UNDERSCORE_NAME:
                yield name


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def test_service_and_training_do_not_import_each_other() -> None:
    for modules, other in ((SERVICE, "training"), (TRAINING, "service")):
        for module, tree in modules.items():
            assert not [name for name in imports(tree) if is_within(name, [other])], module


def test_imports_within_a_package_are_relative() -> None:
    """Once installed, the packages are not importable as `service` and `training`."""
    for path in chain(SERVICE_FILES.values(), TRAINING_FILES.values()):
        for name in imports(ast.parse(path.read_text())):
            assert not is_within(name, ["service", "training"]), path


def test_no_module_exceeds_the_line_limit() -> None:
    for module, path in chain(SERVICE_FILES.items(), TRAINING_FILES.items()):
        assert len(path.read_text().splitlines()) <= MAX_MODULE_LINES, module


def test_service_stays_within_its_line_limit() -> None:
    lines = sum(len(path.read_text().splitlines()) for path in SERVICE_FILES.values())
    assert lines <= MAX_SERVICE_LINES, lines


def test_training_stays_within_its_line_and_module_limits() -> None:
    lines = sum(len(path.read_text().splitlines()) for path in TRAINING_FILES.values())
    assert lines <= MAX_TRAINING_LINES, lines
    assert len(TRAINING_FILES) <= MAX_TRAINING_MODULES


def test_service_stays_within_its_limit_of_top_level_modules() -> None:
    assert len(list((ROOT / "service").glob("*.py"))) <= MAX_TOP_MODULES


def test_each_folder_imports_only_the_folders_it_may() -> None:
    for module in SERVICE_FILES:
        own = module.split(".")[1] if "." in module else None
        if own in MAY_IMPORT:
            allowed = [f"service.{name}" for name in (own, *MAY_IMPORT[own])]
            for name in service_imports(module) - {"service"}:
                assert is_within(name, allowed), f"{module} imports {name}"


def test_import_graph_is_acyclic_and_within_the_depth_limit() -> None:
    graph = {module: service_imports(module) for module in SERVICE_FILES}
    depths: dict[str, int] = {}
    for module in TopologicalSorter(graph).static_order():  # Raises CycleError.
        depths[module] = 1 + max((depths[name] for name in graph[module]), default=0)
    assert {module: depth for module, depth in depths.items() if depth > MAX_IMPORT_DEPTH} == {}


def test_no_module_has_imports_for_type_checking_only() -> None:
    for module, path in SERVICE_FILES.items():
        assert "TYPE_CHECKING" not in path.read_text(), module


def test_restricted_packages_are_imported_only_where_listed() -> None:
    for packages, places in ONLY_IN.items():
        allowed = [f"service.{place}" for place in places]
        for module, tree in SERVICE.items():
            used = {name for name in imports(tree) if is_within(name, packages.split())}
            assert not used or is_within(module, allowed), f"{module} imports {used}"


def test_no_private_name_of_another_package_is_used() -> None:
    for module, tree in SERVICE.items():
        assert not list(private_names(tree)), module


def test_private_names_of_uvicorn_are_listed_and_used_only_in_protocol() -> None:
    tree = SERVICE["service.http.protocol"]
    used, own = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            used.add(node.attr)
            if isinstance(node.ctx, ast.Store):
                own.add(node.attr)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and is_private(node.name):
            own.add(node.name)
    inherited = {
        name for name in used | own if any(hasattr(base, name) for base in UVICORN_CLASSES)
    }
    assert (used - own) | inherited == set(UVICORN_INTERNALS)
    for module in SERVICE.keys() - {"service.http.protocol"}:
        attributes = {n.attr for n in ast.walk(SERVICE[module]) if isinstance(n, ast.Attribute)}
        assert not attributes & set(UVICORN_INTERNALS), module
