"""Versions in an object store: a real S3 server, moto's, and `file://`."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import fsspec
import httpx
import pytest

from service.errors import ArtifactError, StoreError
from service.model.artifact import FLATBUFFER, MANIFEST
from service.model.repository import Repository
from service.model.store import Directory, Source, open_source
from service.settings import Settings
from tests.service.conftest import publish, run_service, serve, wait_for
from tests.service.model.test_artifact import append_a_byte

BUCKET = "s3://models"
LOCATION = f"{BUCKET}/fashion_mnist"


class S3Server:
    """An S3 server in a separate process that a test can stop and start again."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self._port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self._port)).close()
            except OSError:
                time.sleep(0.05)
            else:
                break
        fsspec.filesystem("s3").mkdir(BUCKET)

    def stop(self) -> None:
        assert self._process
        self._process.kill()
        self._process.wait()


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    server = S3Server(port)
    with environment(
        AWS_ENDPOINT_URL=f"http://127.0.0.1:{port}",
        AWS_ACCESS_KEY_ID="test",
        AWS_SECRET_ACCESS_KEY="test",  # noqa: S106
        AWS_DEFAULT_REGION="us-east-1",
        AWS_MAX_ATTEMPTS="1",
    ):
        server.start()
        yield server
        server.stop()


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        yield


@pytest.fixture
def bucket(s3: S3Server) -> Iterator[str]:
    """The URL of an empty store."""
    yield LOCATION
    files = fsspec.filesystem("s3")
    files.invalidate_cache()
    if files.exists(LOCATION):
        files.rm(LOCATION, recursive=True)


def upload(local: Path, url: str) -> None:
    fsspec.filesystem("s3").put(f"{local}/", f"{url}/", recursive=True)


@pytest.fixture
def version_2(copied_artifacts: Path) -> Path:
    publish(copied_artifacts, 2)
    return copied_artifacts / "2"


@pytest.fixture
def source(bucket: str, copied_artifacts: Path, tmp_path: Path) -> Source:
    upload(copied_artifacts / "1", f"{bucket}/1")
    return open_source(bucket, tmp_path / "cache")


def test_versions_are_numbered_directories_highest_first(tmp_path: Path) -> None:
    for name in ("1", "2", "10", ".11.tmp", "012", "٣", "latest"):
        (tmp_path / name).mkdir()
    (tmp_path / "20").touch()
    assert Directory(tmp_path).versions() == [10, 2, 1]


def test_missing_or_unreadable_directory_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ArtifactError, match=r"no model directory at .*; .* publish MODEL"):
        Directory(tmp_path / "absent").versions()

    def denied(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", denied)
    with pytest.raises(ArtifactError, match="cannot be read: Permission denied"):
        Directory(tmp_path).versions()


def test_fingerprint_changes_with_the_content_of_a_file(copied_artifacts: Path) -> None:
    source = Directory(copied_artifacts)
    before = source.fingerprint(1)
    assert source.fingerprint(1) == before
    append_a_byte(copied_artifacts / "1")
    assert source.fingerprint(1) != before


def test_fetched_version_equals_the_published_files(source: Source, copied_artifacts: Path) -> None:
    assert source.versions() == [1]
    fetched, published = source.directory(1), copied_artifacts / "1"
    for path in published.rglob("*"):
        if path.is_file():
            assert (fetched / path.relative_to(published)).read_bytes() == path.read_bytes()


def test_cached_version_is_reused_by_another_source(source: Source, tmp_path: Path) -> None:
    source.versions()
    first = source.directory(1)
    other = open_source(LOCATION, tmp_path / "cache")
    other.versions()
    fsspec.filesystem("s3").rm(LOCATION, recursive=True)
    assert other.directory(1) == first


def test_reuploaded_version_is_fetched_again_and_replaces_the_cached_copy(
    source: Source,
) -> None:
    source.versions()
    first, fingerprint = source.directory(1), source.fingerprint(1)
    fsspec.filesystem("s3").pipe(f"{LOCATION}/1/{FLATBUFFER}", b"other")
    source.versions()
    assert source.fingerprint(1) != fingerprint
    assert (source.directory(1) / FLATBUFFER).read_bytes() == b"other"
    assert not first.exists()


def test_upload_without_a_manifest_is_not_listed(source: Source, version_2: Path) -> None:
    (version_2 / MANIFEST).unlink()
    upload(version_2, f"{LOCATION}/2")
    assert source.versions() == [1]


@pytest.mark.parametrize("name", ["01", "latest", "1.tmp"])
def test_directory_with_an_invalid_version_name_is_not_listed(
    source: Source, copied_artifacts: Path, name: str
) -> None:
    upload(copied_artifacts / "1", f"{LOCATION}/{name}")
    assert source.versions() == [1]


def test_object_name_outside_the_version_is_not_fetched(source: Source, tmp_path: Path) -> None:
    fsspec.filesystem("s3").pipe(f"{LOCATION}/1/../../../outside", b"surprise")
    source.versions()
    with pytest.raises(StoreError, match="is outside the version"):
        source.directory(1)
    assert not list(tmp_path.rglob("outside"))


def test_failed_fetch_leaves_no_files_and_can_be_retried(source: Source, tmp_path: Path) -> None:
    source.versions()
    content = fsspec.filesystem("s3").cat(f"{LOCATION}/1/{FLATBUFFER}")
    fsspec.filesystem("s3").rm(f"{LOCATION}/1/{FLATBUFFER}")
    with pytest.raises(StoreError, match=f"{LOCATION}/1 cannot be fetched"):
        source.directory(1)
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    fsspec.filesystem("s3").pipe(f"{LOCATION}/1/{FLATBUFFER}", content)
    source.versions()
    assert (source.directory(1) / FLATBUFFER).read_bytes() == content


def test_unwritable_cache_is_logged_once_and_retried(
    copied_artifacts: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = tmp_path / "cache"
    cache.write_bytes(b"no directory")  # A full disk fails in the same place.
    repository = Repository(open_source(copied_artifacts.as_uri(), cache))
    for _ in range(3):
        repository.refresh()
    assert caplog.text.count("is refused") == 1
    assert "cannot be fetched" in caplog.text
    cache.unlink()
    repository.refresh()
    assert repository.serving


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
def test_fingerprint_changes_with_permissions(copied_artifacts: Path) -> None:
    source = Directory(copied_artifacts)
    [number] = source.versions()
    file = next(path for path in source.directory(number).rglob("*") if path.is_file())
    before = source.fingerprint(number)
    file.chmod(0o600)
    assert source.fingerprint(number) != before


def test_missing_bucket_is_reported_with_its_url(s3: S3Server, tmp_path: Path) -> None:
    repository = Repository(open_source("s3://absent/models", tmp_path))
    with pytest.raises(ArtifactError, match="s3://absent/models"):
        repository.open()


def test_unreachable_store_is_reported_with_its_url(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"ftp://127\.0\.0\.1:1/models cannot be read: "):
        open_source("ftp://127.0.0.1:1/models", tmp_path)


def test_unsupported_store_scheme_ends_the_process_without_a_traceback() -> None:
    ended = run_service("--artifacts=carrier-pigeon://loft")
    assert ended.returncode == 3
    assert "CRITICAL: cannot serve: carrier-pigeon://loft cannot be read: " in ended.stderr
    assert "Traceback" not in ended.stderr


def test_missing_fsspec_is_reported_with_the_extras(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ArtifactError, match="it comes with the extras `s3`, `gcs`"):
        open_source(LOCATION, tmp_path)


@pytest.mark.parametrize("protocol", ["s3", "file"])
def test_service_serves_a_store_and_follows_new_versions(
    request: pytest.FixtureRequest,
    copied_artifacts: Path,
    tmp_path: Path,
    boot_png: bytes,
    protocol: str,
) -> None:
    store = copied_artifacts.as_uri()
    if protocol == "s3":
        store = request.getfixturevalue("bucket")
        upload(copied_artifacts, store)
    settings = Settings(artifacts=store, cache=tmp_path / "cache", poll_seconds=0.1)
    with serve(settings) as client:
        answer = client.post("/predict", content=boot_png).json()
        assert answer["predictions"][0]["label"] == "Ankle boot"
        assert answer["model"]["version"] == 1
        publish(copied_artifacts, 2)
        if protocol == "s3":
            upload(copied_artifacts / "2", f"{store}/2")
        wait_for(serves_version(client, 2))


def serves_version(client: httpx.Client, version: int) -> Callable[[], bool]:
    return lambda: client.get("/readyz").json()["model"]["version"] == version


def test_version_with_a_wrong_digest_is_refused_until_it_is_repaired(
    bucket: str, version_2: Path, tmp_path: Path
) -> None:
    upload(version_2.parent / "1", f"{bucket}/1")
    good = (version_2 / FLATBUFFER).read_bytes()
    (version_2 / FLATBUFFER).write_bytes(good + b"!")
    settings = Settings(artifacts=bucket, cache=tmp_path / "cache", poll_seconds=0.1)
    with serve(settings) as client:
        upload(version_2, f"{bucket}/2")
        wait_for(lambda: "not the file" in client.get("/v1/models/fashion_mnist").text)
        assert str(tmp_path) not in client.get("/v1/models/fashion_mnist").text
        assert client.get("/readyz").json()["model"]["version"] == 1
        fsspec.filesystem("s3").pipe(f"{bucket}/2/{FLATBUFFER}", good)
        wait_for(serves_version(client, 2))


def test_service_survives_a_store_outage_and_then_follows_new_versions(
    bucket: str, s3: S3Server, copied_artifacts: Path, tmp_path: Path, boot_png: bytes
) -> None:
    upload(copied_artifacts, bucket)
    settings = Settings(artifacts=bucket, cache=tmp_path / "cache", poll_seconds=0.1)
    with serve(settings) as client:
        s3.stop()
        for _ in range(10):
            assert client.post("/predict", content=boot_png).status_code == 200
            time.sleep(0.1)
        s3.start()  # Empty, like a recreated bucket.
        publish(copied_artifacts, 2)
        upload(copied_artifacts, bucket)
        wait_for(serves_version(client, 2))
