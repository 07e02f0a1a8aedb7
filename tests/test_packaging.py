"""`pip install .` installs two commands and the model, which work without the checkout."""

import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import httpx
import pytest

import service
import training
from tests.conftest import ROOT
from tests.service.conftest import wait_until_ready

COMMANDS = ["fashion-mnist-service", "fashion-mnist-training"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run("-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(folder), ROOT)
    [path] = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def bin_folder(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the installed commands, in an environment with the same dependencies."""
    environment = tmp_path_factory.mktemp("environment")
    venv.create(environment, symlinks=True)
    python = environment / "bin" / "python"
    run("-m", "pip", "--python", str(python), "install", "-q", "--no-deps", str(wheel))
    [site_packages] = environment.glob("lib/python*/site-packages")
    (site_packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return environment / "bin"


@pytest.fixture
def outside_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory outside of the checkout."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str | Path) -> str:
    return subprocess.run(
        [sys.executable, *arguments], check=True, capture_output=True, text=True
    ).stdout


def run_command(command: Path, *arguments: str) -> str:
    return subprocess.run(
        [command, *arguments], check=True, capture_output=True, text=True, timeout=60
    ).stdout


def files_of(folder: Path) -> set[str]:
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_wheel_contains_both_packages_and_the_shipped_model(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder, files in (
        ("fashion_mnist_service", files_of(ROOT / "service")),
        ("fashion_mnist_service/training", files_of(ROOT / "training")),
        ("fashion_mnist_service/shipped_model", files_of(ROOT / "artifacts" / "fashion_mnist")),
    ):
        assert {f"{folder}/{name}" for name in files} <= names


def test_wheel_contains_no_other_top_level_entry(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert tops == {"fashion_mnist_service", f"{wheel.name.split('-py3')[0]}.dist-info"}


def test_installed_service_serves_the_packaged_model(
    bin_folder: Path, outside_checkout: Path, free_port: int, boot_png: bytes
) -> None:
    log = outside_checkout / "log"
    with (
        log.open("w") as output,
        subprocess.Popen(
            [bin_folder / "fashion-mnist-service", "--port", str(free_port)], stderr=output
        ) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{free_port}") as client,
    ):
        try:
            wait_until_ready(client)
            answer = client.post("/predict", content=boot_png).json()
        finally:
            process.terminate()
    assert answer["predictions"][0]["label"] == "Ankle boot"
    assert "Traceback" not in log.read_text()


@pytest.mark.parametrize("command", COMMANDS)
def test_command_prints_its_version(bin_folder: Path, outside_checkout: Path, command: str) -> None:
    assert run_command(bin_folder / command, "--version") == f"{command} {service.__version__}\n"


def test_service_and_training_have_the_same_version() -> None:
    assert training.__version__ == service.__version__


@pytest.mark.parametrize("command", COMMANDS)
def test_usage_names_the_installed_command(
    bin_folder: Path, outside_checkout: Path, command: str
) -> None:
    assert run_command(bin_folder / command, "--help").startswith(f"usage: {command} [")


@pytest.mark.parametrize(
    ("line", "completions"),
    [
        ("fashion-mnist-service --eng", {"--engine"}),
        ("fashion-mnist-service --engine li", {"litert"}),
        ("fashion-mnist-training ev", {"evaluate"}),
        ("fashion-mnist-training fit --fit.ep", {"--fit.epochs"}),
        ("fashion-mnist-training export --art", {"--artifacts"}),
    ],
)
def test_bash_completion_offers_options_and_values(
    bin_folder: Path, outside_checkout: Path, line: str, completions: set[str]
) -> None:
    words = line.split()
    script = outside_checkout / "completion.bash"
    script.write_text(run_command(bin_folder / words[0], "--print-completion", "bash"))
    bash = f"""
        source {script}
        COMP_WORDS=({line}) COMP_CWORD={len(words) - 1}
        completer=$(complete -p {words[0]} | grep -o '_shtab_[a-z_]*')
        $completer {words[0]} {words[-1]} {words[-2]}
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    completed = subprocess.run(
        ["bash", "-c", bash], check=True, capture_output=True, text=True
    ).stdout
    assert {word.strip() for word in completed.splitlines()} == completions


def test_training_without_tensorflow_names_the_extra_to_install(
    wheel: Path, tmp_path: Path
) -> None:
    dependencies = tmp_path / "dependencies"
    dependencies.mkdir()
    for package in Path(sysconfig.get_path("purelib")).iterdir():
        if package.name != "tensorflow":
            (dependencies / package.name).symlink_to(package)
    ended = subprocess.run(
        [sys.executable, "-S", "-m", "fashion_mnist_service.training", "fit"],
        cwd=tmp_path,
        env={"PYTHONPATH": f"{wheel}:{dependencies}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert "the extra `training` brings" in ended.stderr
    assert "Traceback" not in ended.stderr
