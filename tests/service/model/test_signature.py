"""With a public key, only models with a valid OpenSSF signature are served."""

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from service.errors import ArtifactError
from service.model.artifact import FLATBUFFER, MANIFEST, SIGNATURE, verify, verify_signature
from service.settings import Settings
from tests.service.conftest import copy_default, publish, run_service, serve, wait_for


def make_key(folder: Path, name: str) -> tuple[Path, Path]:
    """Return the files of a new private key and of its public key."""
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    for command in (
        ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(private)],
        ["openssl", "ec", "-in", str(private), "-pubout", "-out", str(public)],
    ):
        subprocess.run(command, check=True, capture_output=True)
    return private, public


def sign(version: Path, private_key: Path) -> None:
    """Sign with the command line of OpenSSF Model Signing."""
    command = [
        *(sys.executable, "-m", "model_signing", "sign", "key", str(version)),
        *("--private_key", str(private_key), "--signature", str(version / SIGNATURE)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_key(tmp_path_factory.mktemp("keys"), "publisher")


@pytest.fixture(scope="module")
def signed_once(tmp_path_factory: pytest.TempPathFactory, keys: tuple[Path, Path]) -> Path:
    root = tmp_path_factory.mktemp("signed")
    copy_default(root, 1)
    sign(root / "1", keys[0])
    return root / "1"


@pytest.fixture
def signed(signed_once: Path, tmp_path: Path) -> Path:
    """A copy of version 1, signed, that a test may damage."""
    return Path(shutil.copytree(signed_once, tmp_path / "fashion_mnist" / "1"))


def test_signed_version_passes_signature_and_artifact_verification(
    signed: Path, keys: tuple[Path, Path]
) -> None:
    verify_signature(signed, keys[1])
    assert verify(signed).manifest.version == 1


def append_a_byte(version: Path) -> None:
    path = version / FLATBUFFER
    path.write_bytes(path.read_bytes() + b"x")


def replace_the_signature_by_a_link(version: Path) -> None:
    elsewhere = version.parent / "elsewhere"
    (version / SIGNATURE).rename(elsewhere)
    (version / SIGNATURE).symlink_to(elsewhere)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (append_a_byte, "is not valid: .*model.tflite"),
        (lambda v: (v / MANIFEST).write_text("{}"), "is not valid: .*manifest.json"),
        (lambda v: (v / "extra").touch(), "is not valid: .*extra"),
        (lambda v: (v / FLATBUFFER).unlink(), "is not valid: .*model.tflite"),
        (lambda v: (v / SIGNATURE).write_text("{}"), "is not valid"),
        (lambda v: (v / SIGNATURE).write_bytes(b"\xff"), "is not valid"),
        (lambda v: (v / SIGNATURE).unlink(), "the model is not signed"),
        (replace_the_signature_by_a_link, "the model is not signed"),
    ],
)
def test_version_changed_after_signing_is_refused(
    signed: Path, keys: tuple[Path, Path], damage: Callable[[Path], object], reason: str
) -> None:
    damage(signed)
    with pytest.raises(ArtifactError, match=reason):
        verify_signature(signed, keys[1])


def test_signature_of_another_key_is_refused(signed: Path, tmp_path: Path) -> None:
    _, other = make_key(tmp_path, "other")
    with pytest.raises(ArtifactError, match="is not valid"):
        verify_signature(signed, other)


def test_missing_or_invalid_public_key_is_reported(signed: Path, tmp_path: Path) -> None:
    for content in (None, "no PEM"):
        key = tmp_path / "key.pub"
        if content is not None:
            key.write_text(content)
        with pytest.raises(ArtifactError, match="is not a usable public key"):
            verify_signature(signed, key)


def test_verification_without_the_signing_extra_is_refused(
    signed: Path, keys: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ArtifactError, match="the extra `signing`"):
        verify_signature(signed, keys[1])


def test_service_does_not_start_with_an_unsigned_model(
    copied_artifacts: Path, keys: tuple[Path, Path]
) -> None:
    ended = run_service(f"--artifacts={copied_artifacts}", f"--model-public-key={keys[1]}")
    assert ended.returncode == 3
    assert "model.sig is missing: the model is not signed" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_new_version_is_served_once_it_is_signed(signed: Path, keys: tuple[Path, Path]) -> None:
    artifacts = signed.parent
    settings = Settings(
        artifacts=artifacts, engine="litert", model_public_key=keys[1], poll_seconds=0.05
    )
    with serve(settings) as client:
        (signed / SIGNATURE).rename(artifacts / "aside")
        publish(artifacts, 2)
        wait_for(lambda: "the model is not signed" in str(repository_index(client)))
        assert client.get("/readyz").json()["model"]["version"] == 1
        sign(artifacts / "2", keys[0])
        wait_for(lambda: client.get("/readyz").json()["model"]["version"] == 2)


def repository_index(client: httpx.Client) -> object:
    return client.post("/v2/repository/index", json={}).json()
