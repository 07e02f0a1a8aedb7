"""The short way through a route answers as the usual way does."""

import httpx
import pytest

from tests.service.api.test_predict import PIXELS


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        (None, "image/png"),
        (b'{"instances": []}', "application/json"),
        (b"{", "application/json"),
        (b"no picture", "image/png"),
        (b"", "image/png"),
        (b"x", "text/plain"),
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_with_and_without_a_query(
    client: httpx.Client, boot_png: bytes, method: str, content: bytes | None, media_type: str
) -> None:
    content = boot_png if content is None else content
    headers = {"Content-Type": media_type, "X-Request-ID": "same"}
    direct, usual = (
        client.request(method, path, content=content, headers=headers)
        for path in ("/predict", "/predict?prepare=auto")
    )
    assert direct.status_code == usual.status_code
    assert direct.content == usual.content
    assert dict(direct.headers) | {"date": ""} == dict(usual.headers) | {"date": ""}


def test_many_instances_take_the_same_answers_as_one_by_one(client: httpx.Client) -> None:
    one = client.post("/predict", json={"instances": [PIXELS]}).json()
    many = client.post("/predict", json={"instances": [PIXELS] * 30}).json()
    for prediction in many["predictions"]:
        assert prediction["label"] == one["predictions"][0]["label"]
