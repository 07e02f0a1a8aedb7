"""Who may import whom (README, “How it is built”)."""

import ast
from pathlib import Path

import pytest

from tests.conftest import ROOT

MODULES = sorted((ROOT / "service").rglob("*.py")) + sorted((ROOT / "training").rglob("*.py"))
MOST_LINES = 250

HTTP = {"fastapi", "starlette", "uvicorn", "httpx"}
MODEL_RUNTIMES = {"tensorflow", "keras", "ai_edge_litert"}


def imports(path: Path) -> set[str]:
    """Return the full dotted names a module imports, wherever in it the import stands."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None, f"{path}: relative import"
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def imports_on_loading(path: Path) -> set[str]:
    """Return the modules and names that are imported as soon as the module is, and not in calls."""
    tree = ast.parse(path.read_text())
    tree.body = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    return names | {
        node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)
    }


def packages(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imports(path)}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_the_two_halves_share_nothing_but_the_artifact(module: Path) -> None:
    half = module.relative_to(ROOT).parts[0]
    other = {"service": "training", "training": "service"}[half]
    assert other not in packages(module)


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_a_module_is_one_thing(module: Path) -> None:
    assert len(module.read_text().splitlines()) <= MOST_LINES


def test_the_training_itself_is_loaded_without_tensorflow() -> None:
    reached, waiting = set(), {"training.fit"}
    while waiting:
        module = waiting.pop()
        reached.add(module)
        if module.startswith("training."):
            path = ROOT / f"{module.replace('.', '/')}.py"
            waiting |= imports_on_loading(path) - reached
    assert {"training.teacher", "training.callbacks", "keras"} <= reached
    assert "tensorflow" not in {module.split(".")[0] for module in reached}


SERVICE = [module for module in MODULES if name_of(module).startswith("service/")]
CORE = [m for m in SERVICE if m.parent.name in {"service", "engines", "metrics", "protocols"}]


@pytest.mark.parametrize(
    "module", [m for m in CORE if m.stem not in {"app", "__main__"}], ids=name_of
)
def test_only_the_routes_and_the_application_know_of_http(module: Path) -> None:
    assert not packages(module) & HTTP
    assert not {name for name in imports(module) if name.startswith("service.http")}


@pytest.mark.parametrize("module", SERVICE, ids=name_of)
def test_each_model_runtime_stays_inside_its_engine(module: Path) -> None:
    allowed = {
        "service/engines/flatbuffer.py": {"ai_edge_litert"},
        "service/engines/litert.py": {"ai_edge_litert"},
        "service/engines/tensorflow.py": {"tensorflow"},
    }.get(name_of(module), set())
    assert packages(module) & MODEL_RUNTIMES <= allowed


@pytest.mark.parametrize("module", sorted((ROOT / "service/api").glob("*.py")), ids=name_of)
def test_routes_reach_an_engine_only_through_the_classifier(module: Path) -> None:
    assert not {name for name in imports(module) if name.startswith("service.model.engines")}


@pytest.mark.parametrize("module", SERVICE, ids=name_of)
def test_only_the_store_knows_of_fsspec(module: Path) -> None:
    assert name_of(module) == "service/store.py" or "fsspec" not in packages(module)


@pytest.mark.parametrize("module", SERVICE, ids=name_of)
def test_only_the_signature_knows_of_model_signing(module: Path) -> None:
    assert name_of(module) == "service/signature.py" or "model_signing" not in packages(module)


@pytest.mark.parametrize("module", SERVICE, ids=name_of)
def test_nothing_reads_pickles(module: Path) -> None:
    assert not packages(module) & {"pickle", "marshal", "shelve", "dill", "joblib"}


@pytest.mark.parametrize("module", SERVICE, ids=name_of)
def test_only_the_second_port_knows_of_grpc(module: Path) -> None:
    if module.parent.name != "grpc":
        assert not packages(module) & {"grpc", "google"}


@pytest.mark.parametrize("module", SERVICE, ids=name_of)
def test_only_the_span_exporter_knows_of_opentelemetry(module: Path) -> None:
    assert ("opentelemetry" in packages(module)) == (name_of(module) == "service/spans.py")
