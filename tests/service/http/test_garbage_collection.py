"""A request's memory is freed when it ends, without the garbage collector.

The collector counts objects, not bytes: reference cycles of a few objects with a body of megabytes
would accumulate.
"""

import base64
import gc
import time
from collections import Counter
from collections.abc import Callable, Iterator

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.conftest import DATA
from tests.service.conftest import Encode

REQUESTS = 10
SIDE = 90  # More pixels than a small job has, fewer than the server's limit.
EXAMPLE = (DATA / "png" / "0000-ankle-boot.png").read_bytes()
PART = b'--x\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n\r\n'

Send = Callable[[httpx.Client, bytes], httpx.Response]


@pytest.fixture(scope="module")
def photo(encode: Encode) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    return encode(Image.fromarray(noise))


@pytest.fixture
def _collector_disabled() -> Iterator[None]:
    gc.disable()
    yield
    gc.set_debug(0)
    gc.garbage.clear()
    gc.enable()


def photo_upload(path: str = "/predict", **headers: str) -> Send:
    return lambda client, photo: client.post(path, content=photo, headers=headers)


def in_form(count: int, length: int | None = None) -> Send:
    return lambda client, photo: client.post("/predict", files=[("files", photo[:length])] * count)


def in_json(path: str) -> Send:
    return lambda client, photo: client.post(
        path, json={"instances": [{"b64": base64.b64encode(photo).decode()}]}
    )


def with_prefix(beginning: bytes, media_type: str) -> Send:
    return lambda client, photo: client.post(
        "/predict", content=beginning + photo, headers={"Content-Type": media_type}
    )


def small_upload(body: bytes | None = None) -> Send:
    # Read by the fast path first.
    return lambda client, _: client.post("/predict", content=body or EXAMPLE)


def as_tensor(**fields: object) -> Send:
    tensor = {"name": "images", "shape": [1, 784], "datatype": "UINT8", "data": [7] * 784}
    document = {"inputs": [tensor | fields]}
    return lambda client, _: client.post("/v2/models/fashion_mnist/infer", json=document)


KINDS = [
    ("small image", 200, small_upload()),
    ("damaged small image", 400, small_upload(EXAMPLE[:100])),
    ("not an image", 400, small_upload(b"no image")),
    ("tensor", 200, as_tensor()),
    ("tensor of a wrong shape", 400, as_tensor(shape=[1, 783])),
    ("photograph", 200, photo_upload()),
    ("damaged photograph", 400, lambda client, photo: photo_upload()(client, photo[:9000])),
    ("form", 200, in_form(3)),
    ("form of damaged photographs", 400, in_form(3, length=9000)),
    ("form of too many files", 413, in_form(4)),
    ("truncated form", 400, with_prefix(PART, "multipart/form-data; boundary=x")),
    ("malformed form", 400, with_prefix(b"--x\r\nno\r\n\r\n", "multipart/form-data; boundary=x")),
    ("JSON", 200, in_json("/predict")),
    ("malformed JSON", 400, with_prefix(b"{", "application/json")),
    ("TF Serving", 200, in_json("/v1/models/fashion_mnist:predict")),
    ("exceeded deadline", 504, photo_upload(**{"X-Request-Timeout": "1e-9"})),
    ("unsupported media type", 415, with_prefix(b"no image", "text/plain")),
    ("feature maps", 200, photo_upload("/feature-maps")),
    ("feature maps as PNG", 200, photo_upload("/feature-maps?format=png")),
    ("preparation", 200, photo_upload("/preparation")),
    ("unknown path", 404, photo_upload("/nothing")),
]


@pytest.mark.usefixtures("_collector_disabled")
@pytest.mark.parametrize(
    ("status", "send"), [kind[1:] for kind in KINDS], ids=[k[0] for k in KINDS]
)
def test_request_leaves_no_reference_cycles(
    strict_client: httpx.Client, photo: bytes, status: int, send: Send
) -> None:
    send_repeatedly(strict_client, photo, status, send)
    gc.collect()
    gc.set_debug(gc.DEBUG_SAVEALL)
    send_repeatedly(strict_client, photo, status, send)
    gc.collect()
    assert not Counter(type(left).__qualname__ for left in gc.garbage if is_service_object(left))
    assert not [left for left in gc.garbage if isinstance(left, BaseException)]


def send_repeatedly(client: httpx.Client, photo: bytes, status: int, send: Send) -> None:
    for _ in range(REQUESTS):
        assert send(client, photo).status_code == status
    time.sleep(0.1)  # A request's task ends after its response is sent.


def is_service_object(thing: object) -> bool:
    return type(thing).__module__.startswith("service.")
