"""What a request held is free when it is over, without waiting for the garbage collector.

The collector counts objects, not bytes: circles of a few objects with a body of megabytes in them
would pile up.
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
SIDE = 90  # More pixels than a short job has, fewer than the server allows.
EXAMPLE = (DATA / "png" / "0000-ankle-boot.png").read_bytes()
PART = b'--x\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n\r\n'

Ask = Callable[[httpx.Client, bytes], httpx.Response]


@pytest.fixture(scope="module")
def photo(encode: Encode) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    return encode(Image.fromarray(noise))


@pytest.fixture
def _no_collector() -> Iterator[None]:
    gc.disable()
    yield
    gc.set_debug(0)
    gc.garbage.clear()
    gc.enable()


def as_it_is(path: str = "/predict", **headers: str) -> Ask:
    return lambda client, photo: client.post(path, content=photo, headers=headers)


def in_form(count: int, length: int | None = None) -> Ask:
    return lambda client, photo: client.post("/predict", files=[("files", photo[:length])] * count)


def in_json(path: str) -> Ask:
    return lambda client, photo: client.post(
        path, json={"instances": [{"b64": base64.b64encode(photo).decode()}]}
    )


def after(beginning: bytes, media_type: str) -> Ask:
    return lambda client, photo: client.post(
        "/predict", content=beginning + photo, headers={"Content-Type": media_type}
    )


def of_few_pixels(body: bytes | None = None) -> Ask:
    # Answered, or found to be wrong, before the application has it.
    return lambda client, _: client.post("/predict", content=body or EXAMPLE)


def as_tensor(**fields: object) -> Ask:
    tensor = {"name": "images", "shape": [1, 784], "datatype": "UINT8", "data": [7] * 784}
    document = {"inputs": [tensor | fields]}
    return lambda client, _: client.post("/v2/models/fashion_mnist/infer", json=document)


KINDS = [
    ("an image of the data set", 200, of_few_pixels()),
    ("a small damaged one", 400, of_few_pixels(EXAMPLE[:100])),
    ("no image", 400, of_few_pixels(b"no image")),
    ("a tensor", 200, as_tensor()),
    ("a tensor of another shape", 400, as_tensor(shape=[1, 783])),
    ("a photograph", 200, as_it_is()),
    ("a damaged one", 400, lambda client, photo: as_it_is()(client, photo[:9000])),
    ("a form", 200, in_form(3)),
    ("a form of damaged ones", 400, in_form(3, length=9000)),
    ("a form of too many", 413, in_form(4)),
    ("a form that ends too soon", 400, after(PART, "multipart/form-data; boundary=x")),
    ("a malformed form", 400, after(b"--x\r\nno\r\n\r\n", "multipart/form-data; boundary=x")),
    ("JSON", 200, in_json("/predict")),
    ("malformed JSON", 400, after(b"{", "application/json")),
    ("the protocol of TF Serving", 200, in_json("/v1/models/fashion_mnist:predict")),
    ("too early a deadline", 504, as_it_is(**{"X-Request-Timeout": "1e-9"})),
    ("another media type", 415, after(b"no image", "text/plain")),
    ("feature maps", 200, as_it_is("/feature-maps")),
    ("feature maps as images", 200, as_it_is("/feature-maps?format=png")),
    ("a preparation", 200, as_it_is("/preparation")),
    ("a path that is none", 404, as_it_is("/nothing")),
]


@pytest.mark.usefixtures("_no_collector")
@pytest.mark.parametrize(("status", "ask"), [kind[1:] for kind in KINDS], ids=[k[0] for k in KINDS])
def test_a_request_leaves_nothing_to_the_garbage_collector(
    strict_client: httpx.Client, photo: bytes, status: int, ask: Ask
) -> None:
    ask_often(strict_client, photo, status, ask)
    gc.collect()
    gc.set_debug(gc.DEBUG_SAVEALL)
    ask_often(strict_client, photo, status, ask)
    gc.collect()
    assert not Counter(type(left).__qualname__ for left in gc.garbage if is_of_service(left))
    assert not [left for left in gc.garbage if isinstance(left, BaseException)]


def ask_often(client: httpx.Client, photo: bytes, status: int, ask: Ask) -> None:
    for _ in range(REQUESTS):
        assert ask(client, photo).status_code == status
    time.sleep(0.1)  # A request's task ends after its answer is out.


def is_of_service(thing: object) -> bool:
    return type(thing).__module__.startswith("service.")
