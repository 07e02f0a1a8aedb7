"""Thousands of damaged images: each is classified or rejected, and the service keeps running."""

import io
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
from PIL import Image, features

from tests.conftest import DATA
from tests.service.conftest import serve_process, unused_port, wait_until_ready

FORMATS = ["PNG", "JPEG", "WEBP", "GIF", "BMP"] + ["AVIF"] * bool(features.check("avif"))
IMAGES_PER_FORMAT = int(os.environ.get("FUZZ_IMAGES", "400"))
"""`make fuzz` sends more."""
CONNECTIONS = 8
REQUEST_SECONDS = 20
HEAD_BYTES = 64
"""Where a format describes what follows."""


def real_images(file_format: str) -> list[bytes]:
    """Return images of the data set and larger ones in colour, as files of a format."""
    images = []
    for path in sorted((DATA / "png").glob("*.png"))[:4]:
        with Image.open(path) as small:
            for image in (small.convert("L"), small.convert("RGB").resize((90, 70))):
                buffer = io.BytesIO()
                image.save(buffer, file_format)
                images.append(buffer.getvalue())
    return images


def damage(data: bytes, random: np.random.Generator) -> bytes:
    """Return the file with bits flipped, cut, repeated, or its head edited."""
    content = bytearray(data)
    kind = random.integers(5)
    if kind == 0:
        for _ in range(random.integers(1, 20)):
            content[random.integers(len(content))] ^= 1 << int(random.integers(8))
    elif kind == 1:
        del content[random.integers(len(content)) :]
    elif kind == 2:
        for _ in range(random.integers(1, 4)):
            place = int(random.integers(min(HEAD_BYTES, len(content))))
            content[place] = int(random.choice([0, 1, 127, 128, 255]))
    elif kind == 3:
        start, end = sorted(int(i) for i in random.integers(len(content), size=2))
        content[start:end] = content[start:end] * int(random.integers(4))
    else:
        place = int(random.integers(min(HEAD_BYTES, len(content) - 4)))
        content[place : place + 4] = random.bytes(4)
    return bytes(content)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Return the address of a service with a process of its own.

    In the process of the tests, freeing the garbage of earlier tests may block the event loop for
    many seconds.
    """
    port = unused_port()
    url = f"http://127.0.0.1:{port}"
    with serve_process("--log-level=warning", port=port):
        with httpx.Client(base_url=url) as client:
            wait_until_ready(client)
        yield url


@pytest.mark.parametrize("file_format", FORMATS)
def test_damaged_images_are_classified_or_rejected(file_format: str, url: str) -> None:
    originals = real_images(file_format)

    def post_damaged_images(thread: int) -> Counter[int]:
        random = np.random.default_rng([FORMATS.index(file_format), thread])
        statuses: Counter[int] = Counter()
        with httpx.Client(base_url=url, timeout=REQUEST_SECONDS) as client:
            for _ in range(IMAGES_PER_FORMAT // CONNECTIONS):
                data = damage(originals[random.integers(len(originals))], random)
                prepare = str(random.choice(["auto", "photo", "plain"]))
                answer = client.post("/predict", params={"prepare": prepare}, content=data)
                statuses[answer.status_code] += 1
        return statuses

    with ThreadPoolExecutor(CONNECTIONS) as threads:
        statuses = sum(threads.map(post_damaged_images, range(CONNECTIONS)), Counter[int]())
    assert httpx.post(f"{url}/predict", content=originals[0]).status_code == 200
    assert set(statuses) <= {200, 400, 413}
    assert statuses[400] > IMAGES_PER_FORMAT / 20, statuses
