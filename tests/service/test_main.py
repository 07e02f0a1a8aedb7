"""`python -m service` as a separate process."""

import os
import signal
import socket
import time
from pathlib import Path

import httpx
import pytest

from service.__main__ import main
from service.cli import unknown_variables
from service.model.artifact import FLATBUFFER
from service.settings import Settings
from tests.service.conftest import run_service, serve_process, wait_until_ready
from tests.service.http.connections import read_response


@pytest.mark.parametrize("workers", [1, 2])
def test_service_runs_until_sigint(workers: int, free_port: int, boot_png: bytes) -> None:
    with serve_process("--workers", str(workers), port=free_port) as process:
        with httpx.Client(base_url=f"http://127.0.0.1:{free_port}") as client:
            wait_until_ready(client)
            response = client.post("/predict", content=boot_png)
            assert response.json()["predictions"][0]["label"] == "Ankle boot"
        process.send_signal(signal.SIGINT)
        _, log = process.communicate(timeout=30)
    address = f"http://127.0.0.1:{free_port}"
    ready = f"is ready: page {address}/ and API {address}/docs"
    assert log.count(ready) == workers
    assert log.index(ready) > log.index("Uvicorn running")
    assert "engine litert (there is a model.tflite)" in log
    assert "Traceback" not in log


def test_heavy_packages_are_not_imported_by_default() -> None:
    code = "import sys; from service.app import create_app; app = create_app();"
    code += "app.state.repository.open();"
    code += "heavy = {'tensorflow', 'grpc', 'fsspec', 'model_signing'};"
    code += "assert not heavy & sys.modules.keys()"
    import subprocess  # noqa: PLC0415
    import sys  # noqa: PLC0415

    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("workers", [1, 2])
def test_model_with_a_wrong_digest_ends_the_process_without_a_traceback(
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
        (["--port=70000"], {}, "--port (or FASHION_PORT) '70000': Input should be less"),
        (["--port=70000"], {"FASHION_PORT": "1", "fashion_port": "2"}, "'70000'"),
        (["--engine=onnx"], {}, "--engine: invalid choice: 'onnx'"),
        ([], {"FASHION_ENGINE": "onnx"}, "(or FASHION_ENGINE) 'onnx': Input should be 'auto'"),
        (["--colour=red"], {}, "unrecognized arguments: --colour=red\n"),
        (["--prot", "1"], {}, "unrecognized arguments: --prot 1; did you mean --port?"),
        (
            [],
            {"FASHION_WORKERS": "none"},
            "FASHION_WORKERS) 'none': Input should be",
        ),
        (["--tls-key=key.pem"], {}, "service: tls_certificate and tls_key must be set together"),
    ],
)
def test_invalid_setting_ends_with_status_2_and_names_the_reason(
    arguments: list[str],
    environment: dict[str, str],
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # A copy, because `main` writes the options into it.
    monkeypatch.setattr(os, "environ", {**os.environ, **environment})
    try:
        status: object = main(arguments)
    except SystemExit as end:  # of a usage error
        status = end.code
    assert status == 2
    assert reason in capsys.readouterr().err


def test_invalid_setting_ends_the_process_with_status_2_without_a_traceback() -> None:
    ended = run_service("--port=70000")
    assert ended.returncode == 2
    assert "'70000': Input should be less" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_port_in_use_is_reported_on_the_last_line(free_port: int) -> None:
    for workers in (1, 2):
        with socket.create_server(("127.0.0.1", free_port)):
            ended = run_service(f"--port={free_port}", f"--workers={workers}")
        assert ended.returncode == 3
        last = ended.stderr.splitlines()[-1]
        assert f"cannot listen on port {free_port} of 127.0.0.1" in last
        assert "choose another --port" in last


def test_host_of_another_machine_is_reported_on_the_last_line(free_port: int) -> None:
    ended = run_service(f"--port={free_port}", "--host=203.0.113.1")
    assert ended.returncode == 3
    last = ended.stderr.splitlines()[-1]
    assert f"cannot listen on port {free_port} of 203.0.113.1" in last
    assert "--host must be an address of this machine" in last


def test_unknown_environment_variable_is_reported_with_the_closest_setting() -> None:
    assert unknown_variables(
        [
            *("FASHION_PROT", "FASHION_PORT", "FASHION_SHOW", "PATH", "FASHION_TRAINING_RUN_DIR"),
            *("FASHION_MNIST_SERVICE_PORT", "FASHION_MNIST_WORKERS_DIRECTORY"),
        ]
    ) == [
        "FASHION_PROT is not a setting of the service; did you mean FASHION_PORT?",
        "FASHION_SHOW is not a setting of the service",
    ]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = run_service(f"--port={taken.getsockname()[1]}", FASHION_PROT="80")
    assert "FASHION_PROT is not a setting" in ended.stderr


def test_idle_connections_are_closed_after_the_advertised_keep_alive_time(
    free_port: int, boot_png: bytes
) -> None:
    with serve_process("--keep-alive-seconds=1", port=free_port) as process:
        with httpx.Client(base_url=f"http://127.0.0.1:{free_port}") as client:
            wait_until_ready(client)
            for answer in (client.post("/predict", content=boot_png), client.get("/openapi.json")):
                assert answer.headers["Keep-Alive"] == "timeout=1"
        request = b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n"
        for sent, then in ((request, b""), (request, b"\r\n"), (request + b"\r\n", b"")):
            with socket.create_connection(("127.0.0.1", free_port), timeout=20) as connection:
                connection.sendall(sent)
                assert connection.recv(4096)
                start = time.monotonic()
                connection.sendall(then)  # A blank line does not start a request (RFC 9112, 2.2).
                assert connection.recv(1) == b""
                assert 0.8 < time.monotonic() - start < 5
        with socket.create_connection(("127.0.0.1", free_port), timeout=20) as connection:
            # A started request is not idle, even if its head follows the end of an unread body.
            unread = b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
            connection.sendall(unread)
            assert read_response(connection).status == 404
            head = b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"
            connection.sendall(b"\r\n" + head % len(boot_png))
            time.sleep(1.5)
            connection.sendall(boot_png)
            assert read_response(connection).status == 200
        process.terminate()
        process.communicate(timeout=30)
    assert Settings.model_fields["keep_alive_seconds"].default > 60, (
        "nginx keeps idle connections for 60 s"
    )


def test_help_names_every_setting_and_shows_no_empty_default() -> None:
    ended = run_service("--help")
    assert ended.returncode == 0
    for name in Settings.model_fields:
        assert f"--{name.replace('_', '-')}" in ended.stdout
    for oddity in ("null", "()", "{}", "FLIGHT", "default: )"):
        assert oddity not in ended.stdout
