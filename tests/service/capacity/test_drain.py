"""Draining of the process, and loss of the supervisor or a worker."""

import os
import signal
import socket
import threading
import time
from pathlib import Path

import httpx
import pytest
from PIL import Image

from service.capacity.drain import REPEAT_SECONDS
from tests.service.conftest import Encode, serve_process, wait_for, wait_until_ready, workers_of

CLIENTS = 4
PAUSE_SECONDS = 0.005
"""Between two requests of a client, for the processors to start workers meanwhile."""


class Client(threading.Thread):
    """Posts images until a request is rejected, on one connection or on one per request."""

    def __init__(self, url: str, image: bytes, *, keep_alive: bool = True) -> None:
        super().__init__()
        self.answers: list[httpx.Response] = []
        self.failure: Exception | None = None
        self.should_stop = False
        self._url = url
        self._image = image
        self._limits = httpx.Limits(max_keepalive_connections=1 if keep_alive else 0)

    def run(self) -> None:
        with httpx.Client(base_url=self._url, timeout=20, limits=self._limits) as client:
            while not self.should_stop and self.failure is None:
                try:
                    answer = client.post("/predict", content=self._image)
                except httpx.TransportError as error:
                    self.failure = error
                else:
                    self.answers.append(answer)
                    if answer.status_code != 200:
                        return
                    time.sleep(PAUSE_SECONDS)


@pytest.mark.parametrize("workers", [1, 2])
def test_requests_are_rejected_after_sigterm_and_earlier_ones_answered(
    workers: int, free_port: int, boot_png: bytes
) -> None:
    url = f"http://127.0.0.1:{free_port}"
    with serve_process("--workers", str(workers), "--log-level=warning", port=free_port) as process:
        with httpx.Client(base_url=url) as probe:
            wait_until_ready(probe)
            clients = [Client(url, boot_png) for _ in range(CLIENTS)]
            for client in clients:
                client.start()
            wait_for(lambda: all(len(client.answers) > 20 for client in clients))
            process.send_signal(signal.SIGTERM)
            wait_for(lambda: probe.get("/readyz").status_code == 503)
            assert probe.get("/livez").status_code == 200
        for client in clients:
            client.join(timeout=20)
        process.communicate(timeout=20)
    assert process.returncode == 0
    for client in clients:
        assert client.failure is None
        *accepted, rejected = client.answers
        assert {answer.status_code for answer in accepted} == {200}
        assert rejected.status_code == 503
        assert rejected.json()["error"]["code"] == "draining"
        assert rejected.headers["Connection"] == "close"


def test_request_in_progress_at_sigterm_is_answered(free_port: int, encode: Encode) -> None:
    image = encode(Image.new("RGB", (5000, 4900), "white"))
    url = f"http://127.0.0.1:{free_port}"
    arguments = ("--drain-notice-seconds=0", "--log-level=warning")
    with serve_process(*arguments, port=free_port) as process:
        with httpx.Client(base_url=url) as probe:
            wait_until_ready(probe)
        client = Client(url, image, keep_alive=False)
        client.start()
        wait_for(lambda: len(client.answers) > 0)
        time.sleep(0.1)  # The next request has been sent, and takes several times as long.
        process.send_signal(signal.SIGTERM)
        client.join(timeout=20)
        process.communicate(timeout=20)
    assert process.returncode == 0
    assert [answer.status_code for answer in client.answers[:2]] == [200, 200]
    # A connection still in the backlog of the listener is reset or gets a 503.
    assert isinstance(client.failure, httpx.NetworkError) or client.answers[-1].status_code == 503


def test_request_on_an_open_connection_during_the_drain_is_a_503(free_port: int) -> None:
    arguments = ("--drain-notice-seconds=0", "--log-level=warning")
    address = ("127.0.0.1", free_port)
    with serve_process(*arguments, port=free_port) as process:
        with httpx.Client(base_url=f"http://127.0.0.1:{free_port}") as probe:
            wait_until_ready(probe)
        with socket.create_connection(address, timeout=20) as connected:
            process.send_signal(signal.SIGTERM)
            wait_for(lambda: is_refused(address))
            connected.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx")
            answer = b"".join(iter(lambda: connected.recv(4096), b""))
        process.communicate(timeout=20)
    assert process.returncode == 0
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b'"draining"' in answer


def test_draining_workers_refuse_new_connections_and_finish_their_requests(free_port: int) -> None:
    arguments = ("--workers=2", "--drain-notice-seconds=0.5", "--drain-seconds=20")
    address = ("127.0.0.1", free_port)
    with serve_process(*arguments, "--log-level=warning", port=free_port) as process:
        with httpx.Client(base_url=f"http://127.0.0.1:{free_port}") as probe:
            wait_until_ready(probe)
        with socket.create_connection(address, timeout=20) as slow:
            slow.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nx")
            time.sleep(0.2)
            process.send_signal(signal.SIGTERM)
            wait_for(lambda: probe_new_connection(address) == "refused")
            assert process.poll() is None, "it waits for the slow request"
            slow.sendall(b"12345678")
            assert slow.recv(4096).startswith(b"HTTP/1.1 400 ")
        _, log = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "Traceback" not in log


def probe_new_connection(address: tuple[str, int]) -> str:
    """Return whether a new connection is answered or refused, long before the drain ends."""
    try:
        with socket.create_connection(address, timeout=5) as connection:
            connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            return "answered" if connection.recv(4096) else "refused"
    except ConnectionError:
        return "refused"


def is_refused(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, timeout=1).close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.parametrize("workers", [1, 2])
def test_request_longer_than_the_drain_is_a_503_and_does_not_delay_the_exit(
    workers: int, free_port: int, encode: Encode
) -> None:
    image = encode(Image.new("RGB", (5000, 4900), "white"))
    url = f"http://127.0.0.1:{free_port}"
    arguments = (f"--workers={workers}", "--drain-seconds=1", "--deadline-seconds=300")
    with serve_process(*arguments, port=free_port) as process:
        with httpx.Client(base_url=url) as probe:
            wait_until_ready(probe)
        answers: list[httpx.Response] = []

        def send() -> None:  # Takes a minute or more.
            files = [("files", image)] * 200
            answers.append(httpx.post(f"{url}/predict", files=files, timeout=60))

        client = threading.Thread(target=send)
        client.start()
        with httpx.Client(base_url=url) as probe:
            wait_for(lambda: "images_in_flight 200" in probe.get("/metrics").text)
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=20)
        client.join(timeout=20)
    assert process.returncode == 0
    assert answers[0].status_code == 503
    assert answers[0].json()["error"]["code"] == "draining"
    assert "Traceback" not in log


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="workers are found under /proc")
def test_notice_period_lasts_if_a_service_manager_signals_supervisor_and_workers(
    free_port: int,
) -> None:
    url, arguments = f"http://127.0.0.1:{free_port}", ("--workers=2", "--drain-notice-seconds=2")
    with serve_process(*arguments, "--log-level=warning", port=free_port) as process:
        with httpx.Client(base_url=url) as probe:
            wait_until_ready(probe)
        wait_for(lambda: len(workers_of(process)) == 2)
        for process_id in (*workers_of(process), process.pid):
            os.kill(process_id, signal.SIGTERM)
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            assert httpx.get(f"{url}/livez").status_code == 200
        process.communicate(timeout=20)
    assert process.returncode == 0


def test_second_sigterm_ends_the_notice_period(free_port: int) -> None:
    with serve_process("--drain-notice-seconds=25", port=free_port) as process:
        with httpx.Client(base_url=f"http://127.0.0.1:{free_port}") as probe:
            wait_until_ready(probe)
            process.send_signal(signal.SIGTERM)
            wait_for(lambda: probe.get("/readyz").status_code == 503)
        time.sleep(REPEAT_SECONDS)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=15)
    assert process.returncode == 0


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="workers are found under /proc")
def test_workers_drain_and_exit_if_the_supervisor_is_killed(free_port: int) -> None:
    url, arguments = f"http://127.0.0.1:{free_port}", ("--workers=2", "--drain-notice-seconds=2")
    with serve_process(*arguments, "--log-level=warning", port=free_port) as process:
        with httpx.Client(base_url=url) as probe:
            wait_until_ready(probe)
        wait_for(lambda: len(workers_of(process)) == 2)
        workers = workers_of(process)
        process.kill()
        wait_for(lambda: httpx.get(f"{url}/readyz").status_code == 503)
        time.sleep(1)  # During the notice period, the port stays open.
        assert httpx.get(f"{url}/readyz").status_code == 503
        wait_for(lambda: is_refused(("127.0.0.1", free_port)))
        wait_for(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers))


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="workers are found under /proc")
def test_killed_worker_is_replaced_and_only_its_connections_fail(
    free_port: int, boot_png: bytes
) -> None:
    url = f"http://127.0.0.1:{free_port}"
    with serve_process("--workers=2", "--log-level=warning", port=free_port) as process:
        with httpx.Client(base_url=url) as probe:
            wait_until_ready(probe)
        wait_for(lambda: len(workers_of(process)) == 2)
        before = set(workers_of(process))
        clients = [Client(url, boot_png, keep_alive=False) for _ in range(CLIENTS)]
        for client in clients:
            client.start()
        wait_for(lambda: all(len(client.answers) > 5 for client in clients))
        killed = min(before)
        os.kill(killed, signal.SIGKILL)
        wait_for(lambda: len(set(workers_of(process)) - {killed}) == 2)
        alive = [client for client in clients if client.failure is None]
        counts = [len(client.answers) for client in alive]
        wait_for(
            lambda: all(
                len(client.answers) > count + 50 or client.failure
                for client, count in zip(alive, counts, strict=True)
            )
        )
        for client in clients:
            client.should_stop = True
        for client in clients:
            client.join(timeout=20)
    assert alive
    for client in clients:
        assert {answer.status_code for answer in client.answers} == {200}
        if client.failure is not None:
            assert isinstance(client.failure, httpx.NetworkError | httpx.RemoteProtocolError)
