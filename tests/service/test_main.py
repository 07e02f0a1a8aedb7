"""`python -m service` as a user starts it."""

import re
import signal
from pathlib import Path

import httpx
import pytest

from service.model.artifact import FLATBUFFER
from tests.service.conftest import run_service, serve_process, wait_until_ready


@pytest.mark.parametrize("workers", [1, 2])
def test_it_serves_until_told_to_stop(workers: int, free_port: int, boot_png: bytes) -> None:
    with serve_process("--workers", str(workers), port=free_port) as process:
        with httpx.Client(base_url=f"http://127.0.0.1:{free_port}") as client:
            wait_until_ready(client)
            response = client.post("/predict", content=boot_png)
            assert response.json()["predictions"][0]["label"] == "Ankle boot"
        process.send_signal(signal.SIGINT)
        _, log = process.communicate(timeout=30)
    assert re.search(rf"is ready on http://127.0.0.1:{free_port}", log)
    assert "engine litert (there is a model.tflite)" in log
    assert "Traceback" not in log


def test_what_is_heavy_is_not_loaded_by_default() -> None:
    code = "import sys; from service.app import create_app; app = create_app();"
    code += "app.state.repository.open();"
    code += "heavy = {'tensorflow', 'grpc', 'fsspec', 'model_signing'};"
    code += "assert not heavy & sys.modules.keys()"
    import subprocess  # noqa: PLC0415
    import sys  # noqa: PLC0415

    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_model_that_fails_its_digests_ends_the_process_with_a_sentence(
    copied_artifacts: Path, free_port: int, workers: int
) -> None:
    (copied_artifacts / "1" / FLATBUFFER).write_bytes(b"")
    ended = run_service(
        f"--artifacts={copied_artifacts}", f"--port={free_port}", f"--workers={workers}"
    )
    assert ended.returncode == 3
    assert "CRITICAL: cannot serve: " in ended.stderr
    assert "model.tflite is not the file that was published" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "environment", "reason"),
    [
        (["--port=70000"], {}, "port: Input should be less than or equal to 65535"),
        (["--engine=onnx"], {}, "--engine: invalid choice: 'onnx'"),
        ([], {"FASHION_ENGINE": "onnx"}, "engine: Input should be 'auto', 'litert' or"),
        (["--colour=red"], {}, "unrecognized arguments: --colour=red"),
        ([], {"FASHION_WORKERS": "none"}, "workers: Input should be a valid integer"),
    ],
)
def test_a_wrong_setting_is_a_sentence_and_status_2(
    arguments: list[str], environment: dict[str, str], reason: str
) -> None:
    ended = run_service(*arguments, **environment)
    assert ended.returncode == 2
    assert reason in ended.stderr
    assert "Traceback" not in ended.stderr


def test_help_names_every_setting() -> None:
    ended = run_service("--help")
    assert ended.returncode == 0
    for option in ("--host", "--port", "--workers", "--engine", "--artifacts", "--max-body-bytes"):
        assert option in ended.stdout
