"""Fixtures of all tests: real images of the data set."""

import gzip
import os
import socket
import ssl
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

DATA = Path(__file__).parent / "data"
ROOT = Path(__file__).parent.parent


# Each client of httpx reads every certificate of a file, which takes 40 ms; of a folder, none that
# it does not need.
os.environ.pop("SSL_CERT_FILE", None)
os.environ["SSL_CERT_DIR"] = ssl.get_default_verify_paths().openssl_capath

SLOW_TESTS = (
    "tests/training/",
    "tests/service/web/",
    "tests/test_lesson.py",
    "tests/test_documents.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the slow files first, so that none runs alone at the end while other workers idle."""
    items.sort(key=lambda item: not item.nodeid.startswith(SLOW_TESTS))


@pytest.fixture(scope="session")
def test_slice() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The first 1,000 test images, (1000, 28, 28) uint8, and their labels, (1000,) uint8."""
    images = gzip.decompress((DATA / "test-1000-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((DATA / "test-1000-labels-idx1-ubyte.gz").read_bytes())
    return (
        np.frombuffer(images, np.uint8, offset=16).reshape(-1, 28, 28),
        np.frombuffer(labels, np.uint8, offset=8),
    )


@pytest.fixture(scope="session")
def boot_png() -> bytes:
    """The first test image, an ankle boot."""
    return (DATA / "png" / "0000-ankle-boot.png").read_bytes()


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
