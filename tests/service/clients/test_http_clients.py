"""Published HTTP clients, proxies and their health checks, with default settings."""

import asyncio
import io
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import httpx
import pytest
import requests

from tests.conftest import DATA
from tests.service.conftest import unused_port

HERE = Path(__file__).parent
BOOT = DATA / "png" / "0000-ankle-boot.png"


@pytest.fixture(scope="module")
def url(client: httpx.Client) -> str:
    return str(client.base_url).rstrip("/")


def run(*command: str | Path) -> list[str]:
    """Run a client until it exits; return the lines that it prints."""
    if shutil.which(str(command[0])) is None:
        pytest.skip(f"{command[0]} is not installed")
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_java_http_client(url: str) -> None:
    if shutil.which("javac") is None:
        pytest.skip("a JDK is not installed")
    lines = run("java", HERE / "JavaClient.java", url, BOOT)
    assert len(lines) == 2
    for line in lines:
        assert line.startswith("200 ")
        assert '"label":"Ankle boot"' in line


def test_node_fetch(url: str) -> None:
    *lines, unread, ready = run("node", HERE / "fetch_client.mjs", url, BOOT)
    for line, images in zip(lines, (1, 1, 1, 2, 1), strict=True):
        assert line.startswith("200 ")
        assert line.count('"label":"Ankle boot","class_id":9,"confidence"') == images
    assert unread.startswith("400 ")
    assert ready == "200"


def test_axios(url: str) -> None:
    lines = run("node", HERE / "axios_client.mjs", url, BOOT)
    types = ("application/x-www-form-urlencoded", "multipart/form-data", "application/json")
    for line, media_type in zip(lines, types, strict=True):
        assert line.startswith(f"200 {media_type}")
        assert line.count('"label":"Ankle boot","class_id":9,"confidence"') == 1


@pytest.mark.parametrize(
    "options",
    [
        ["--http2"],
        ["--http1.0"],
        ["--data-binary", f"@{BOOT}"],
        ["--compressed"],
        ["-H", "Expect: 100-continue"],
        ["-F", f"files=@{BOOT}", "-F", "top_k=2"],
    ],
    ids=lambda options: options[0].strip("-"),
)
def test_curl(url: str, options: list[str]) -> None:
    sends_a_body = options[0] in {"--data-binary", "-F"}
    upload = [] if sends_a_body else ["-T", str(BOOT)]
    [body] = run("curl", "-sS", "--fail", *options, *upload, f"{url}/predict")
    assert '"label":"Ankle boot"' in body


def test_requests(url: str) -> None:
    with requests.Session() as session, BOOT.open("rb") as file:
        for answer in (
            session.post(f"{url}/predict", data=BOOT.read_bytes()),
            session.post(f"{url}/predict", files={"신발": file}, data={"prepare": "plain"}),
            session.post(f"{url}/predict", files=[("files", BOOT.read_bytes())] * 2),
        ):
            assert answer.json()["predictions"][0]["label"] == "Ankle boot"
        assert session.head(f"{url}/readyz").status_code == 200
        assert session.options(f"{url}/predict").headers["Allow"] == "OPTIONS, POST, PUT"
        maps = session.post(f"{url}/feature-maps", data=BOOT.read_bytes())
        assert maps.headers["Content-Encoding"] == "gzip"
        assert len(maps.json()["layers"]) == 4


def test_aiohttp(url: str) -> None:
    async def send_requests() -> None:
        async with aiohttp.ClientSession(url) as session:
            form = aiohttp.FormData()
            form.add_field("사진", io.BytesIO(BOOT.read_bytes()), filename="신발.png")
            form.add_field("unnamed", io.BytesIO(BOOT.read_bytes()), content_type="image/png")
            form.add_field("top_k", "2")
            for body in (BOOT.read_bytes(), io.BytesIO(BOOT.read_bytes()), form):
                async with session.post("/predict", data=body) as answer:
                    assert answer.status == 200, await answer.text()
                    predictions = (await answer.json())["predictions"]
                    assert {each["label"] for each in predictions} == {"Ankle boot"}
            async with session.head("/readyz") as answer:
                assert answer.status == 200

    asyncio.run(send_requests())


@contextmanager
def running(configuration: str, folder: Path, *command: str | Path) -> Iterator[None]:
    if shutil.which(str(command[0])) is None:
        pytest.skip(f"{command[0]} is not installed")
    (folder / "proxy.cfg").write_text(configuration)
    with (folder / "proxy.log").open("w") as log:
        process = subprocess.Popen([*command, folder / "proxy.cfg"], stdout=log, stderr=log)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def wait_for_status(client: httpx.Client, path: str, status: int) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            found = client.head(path).status_code
        except httpx.TransportError:
            found = 0
        if found == status:
            return
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "GET"])
def test_haproxy_health_check_reports_the_service_as_up(
    url: str, tmp_path: Path, method: str
) -> None:
    port = unused_port()
    configuration = f"""
defaults
  mode http
  timeout connect 2s
  timeout client 5s
  timeout server 5s
  timeout check 5s
frontend all
  bind 127.0.0.1:{port}
  default_backend service
backend service
  option httpchk {method} /readyz
  server one {url.removeprefix("http://")} check inter 100ms rise 1 fall 1 init-state down
"""
    if "init-state" not in _haproxy_keywords():
        configuration = configuration.replace(" init-state down", "")
    with (
        running(configuration, tmp_path, "haproxy", "-db", "-f"),
        httpx.Client(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        wait_for_status(client, "/readyz", 200)
        time.sleep(0.3)  # Health checks run meanwhile.
        assert client.put("/predict", content=BOOT.read_bytes()).status_code == 200
        log = (tmp_path / "proxy.log").read_text()
        assert "is DOWN" not in log


def _haproxy_keywords() -> str:
    """Return HAProxy's keywords; `init-state` exists since 3.1."""
    if shutil.which("haproxy") is None:
        return ""
    command = ["haproxy", "-dKall", "-q", "-c", "-f", "/dev/null"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def test_nginx_that_strips_a_prefix(url: str, tmp_path: Path) -> None:
    port = unused_port()
    configuration = f"""
daemon off;
pid {tmp_path}/nginx.pid;
error_log {tmp_path}/error.log;
events {{}}
http {{
  access_log off;
  client_body_temp_path {tmp_path}/a; proxy_temp_path {tmp_path}/b; fastcgi_temp_path {tmp_path}/c;
  uwsgi_temp_path {tmp_path}/d; scgi_temp_path {tmp_path}/e;
  server {{
    listen 127.0.0.1:{port};
    location /ml/ {{
      proxy_pass {url}/;
      proxy_set_header X-Forwarded-Prefix /ml;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_redirect off;
    }}
  }}
}}
"""
    with (
        running(configuration, tmp_path, "nginx", "-p", tmp_path, "-c"),
        httpx.Client(base_url=f"http://127.0.0.1:{port}", follow_redirects=True) as client,
    ):
        wait_for_status(client, "/ml/readyz", 200)
        assert client.get("/ml/livez/").url.path == "/ml/livez"
        page = client.get("/ml/docs")
        script = client.get(page.url.join("web/docs.js"))
        [address] = [line for line in script.text.splitlines() if "url:" in line]
        document = client.get(page.url.join(address.split('"')[1]))
        assert document.url.path == "/ml/openapi.json"
        [server] = document.json()["servers"]
        predict = document.url.join(server["url"].removesuffix("/") + "/predict")
        answer = client.post(predict, content=BOOT.read_bytes())
        assert answer.json()["predictions"][0]["label"] == "Ankle boot"
        assert client.get("/ml/").status_code == 200
        assert client.get("/ml/web/main.js").status_code == 200
