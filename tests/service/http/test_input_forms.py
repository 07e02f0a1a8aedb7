"""Equivalent forms of input are read alike on every route; common mistakes are named."""

import base64
import binascii
import json
import quopri
from collections.abc import Mapping
from typing import Any

import httpx
import numpy as np
import pytest

from service.arrays import Pixels
from tests.service.conftest import Encode
from tests.service.http.test_predict import parse_error, parse_predictions

V1 = "/v1/models/fashion_mnist:predict"
V2 = "/v2/models/fashion_mnist/infer"
IMAGE_ROUTES = ("/predict", "/feature-maps?layer=max_pooling2d_2", "/preparation")
JSON = {"Content-Type": "application/json"}
BOUNDARY = {"Content-Type": "multipart/form-data; boundary=x"}


@pytest.fixture(scope="module")
def image(encode: Encode) -> bytes:
    """A PNG whose base64 contains `=`, `+` and `/`."""
    rng = np.random.default_rng(3)
    while True:
        data = encode(rng.integers(0, 256, (28, 28), np.uint8))
        text = base64.b64encode(data).decode()
        if {"=", "+", "/"} <= set(text):
            return data


@pytest.fixture(scope="module")
def probabilities(client: httpx.Client, image: bytes) -> Mapping[str, float]:
    return parse_predictions(client.post("/predict", content=image)).predictions[0].probabilities


def part(*head: str, data: bytes, boundary: str = "x") -> bytes:
    lines = "\r\n".join([f"--{boundary}", *head, "", ""]).encode()
    return lines + data + f"\r\n--{boundary}--\r\n".encode()


DISPOSITION = 'Content-Disposition: form-data; name="files"'
FILE = f'{DISPOSITION}; filename="a.png"'


def tensor(**fields: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "images", "shape": [1, 784], "datatype": "UINT8", **fields}]}


def test_base64_is_decoded_in_every_variant(
    client: httpx.Client, image: bytes, probabilities: Mapping[str, float]
) -> None:
    text = base64.b64encode(image).decode()
    lines = [text[start : start + 76] for start in range(0, len(text), 76)]
    variants = {
        "plain": text,
        "lines": "\n".join(lines),
        "MIME": "\r\n".join([*lines, ""]),
        "unpadded": text.rstrip("="),
        "URL-safe": base64.urlsafe_b64encode(image).decode(),
        "URL-safe and unpadded": base64.urlsafe_b64encode(image).decode().rstrip("="),
        "data URL": f"data:image/png;base64,{text}",
    }
    expected = list(probabilities.values())
    for variant, sent in variants.items():
        files = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [sent]}
        for instances in ([{"b64": sent}], [sent]):
            document = {"instances": instances}
            for path in IMAGE_ROUTES:
                assert client.post(path, json=document).status_code == 200, (variant, path)
            answer = parse_predictions(client.post("/predict", json=document)).predictions[0]
            assert list(answer.probabilities.values()) == pytest.approx(expected), variant
            rows = client.post(V1, json=document).json()["predictions"]
            assert rows[0] == pytest.approx(expected), variant
        for value in (sent, [sent], {"b64": sent}):
            columns = client.post(V1, json={"inputs": value}).json()["outputs"]
            assert columns[0] == pytest.approx(expected), variant
        outputs = client.post(V2, json={"inputs": [files]}).json()["outputs"]
        assert outputs[0]["data"] == pytest.approx(expected), variant


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("https://shop.example/a.png", "URLs are not fetched"),
        ("data:image/png,%89PNG", "data:…;base64,…"),
        ("aGk=aGk=", "not valid base64"),
        ("a-b*", "not valid base64"),
    ],
)
def test_invalid_base64_is_a_400_that_names_the_reason(
    client: httpx.Client, text: str, reason: str
) -> None:
    files = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [text]}
    for path, document in (
        ("/predict", {"instances": [{"b64": text}]}),
        ("/predict", {"instances": [text]}),
        (V1, {"instances": [{"b64": text}]}),
        (V2, {"inputs": [files]}),
    ):
        response = client.post(path, json=document)
        assert response.status_code == 400
        assert reason in response.text, path


@pytest.mark.parametrize(
    "media_type",
    [
        *("image/jpg", "image/pjpeg", "image/x-png", "image/x-ms-bmp", "image/apng", "image/*"),
        *("binary/octet-stream", "application/x-octet-stream", "application/octet-stream"),
        *("application/x-www-form-urlencoded", "text/plain;charset=UTF-8", "x"),
        *("application/json", "multipart/form-data; boundary=x"),
    ],
)
def test_image_is_recognised_whatever_its_media_type(
    client: httpx.Client, image: bytes, media_type: str
) -> None:
    for path in IMAGE_ROUTES:
        response = client.post(path, content=image, headers={"Content-Type": media_type})
        assert response.status_code == 200, response.text


@pytest.mark.parametrize("headers", [{}, {"Content-Type": "application/x-www-form-urlencoded"}])
def test_json_is_recognised_without_its_media_type(
    client: httpx.Client, headers: dict[str, str]
) -> None:
    body = json.dumps({"instances": [[0] * 784]}, indent=1).encode()
    for path in IMAGE_ROUTES:
        for content in (body, b"\r\n " + body):
            assert client.post(path, content=content, headers=headers).status_code == 200
    assert parse_error(client.post("/predict", content=b"[1"), 400)[0] == "invalid_json"


def test_utf_8_byte_order_mark_is_skipped_and_utf_16_and_32_are_rejected(
    client: httpx.Client,
) -> None:
    instances = json.dumps({"instances": [[0] * 784]})
    for path, text in (
        *((path, instances) for path in (*IMAGE_ROUTES, V1)),
        (V2, json.dumps(tensor(data=[0] * 784))),
    ):
        marked = client.post(path, content=text.encode("utf-8-sig"), headers=JSON)
        assert marked.status_code == 200, path
        for encoding in ("utf-16", "utf-16-be", "utf-32"):
            refused = client.post(path, content=text.encode(encoding), headers=JSON)
            assert refused.status_code == 400
            assert "UTF-8" in refused.text, path


@pytest.mark.parametrize(
    "head",
    [
        ("Content-Disposition: form-data; name=\"f\"; filename*=utf-8''%EC%8B%A0.png",),
        ("Content-Disposition: form-data; name*=utf-8''%EC%82%AC; filename=\"a.png\"",),
        ('Content-Disposition: form-data; name="f";\r\n filename="a.png"',),
        (DISPOSITION, "Content-Type: image/png"),
        (DISPOSITION, "Content-Type: application/octet-stream"),
        (DISPOSITION,),
        (FILE, "content-transfer-encoding: BINARY"),
    ],
    ids=["filename*", "name*", "folded", "image", "octet-stream", "bytes", "binary"],
)
def test_file_of_a_form_is_recognised_by_name_type_or_content(
    client: httpx.Client, image: bytes, head: tuple[str, ...]
) -> None:
    for path in IMAGE_ROUTES:
        response = client.post(path, content=part(*head, data=image), headers=BOUNDARY)
        assert response.status_code == 200, response.text


def test_file_of_a_form_may_have_a_transfer_encoding(
    client: httpx.Client, image: bytes, probabilities: Mapping[str, float]
) -> None:
    for encoding, data in (
        ("base64", base64.encodebytes(image)),
        ("Base64", base64.b64encode(image)),
        ("quoted-printable", binascii.b2a_qp(image, istext=False)),
        ("8bit", image),
    ):
        body = part(FILE, f"Content-Transfer-Encoding: {encoding}", data=data)
        answer = parse_predictions(client.post("/predict", content=body, headers=BOUNDARY))
        assert answer.predictions[0].probabilities == probabilities, encoding
    for encoding, data in (
        ("quoted-printable", quopri.encodestring(image)),  # Encoded as text, which loses line ends.
        ("x-uuencode", b""),
    ):
        body = part(FILE, f"Content-Transfer-Encoding: {encoding}", data=data)
        refused = client.post("/predict", content=body, headers=BOUNDARY)
        code, message = parse_error(refused, 400)
        assert code == "invalid_multipart"
        assert encoding in message


@pytest.mark.parametrize("boundary", ["===165===", "----=_Part_1_2.3", "a/b", "a:b", "a b", "'("])
@pytest.mark.parametrize("form", ["%s", '"%s"', "%s; charset=utf-8"])
def test_boundary_may_be_quoted_or_unquoted(
    client: httpx.Client, image: bytes, boundary: str, form: str
) -> None:
    headers = {"Content-Type": f"multipart/form-data; Boundary={form % boundary}"}
    body = part(FILE, data=image, boundary=boundary)
    assert client.post("/predict", content=body, headers=headers).status_code == 200


def test_text_fields_of_a_form_are_parameters(client: httpx.Client, image: bytes) -> None:
    files = {"file": ("a.png", image)}
    data = {"top_k": "2", "prepare": "photo", "version_label": "none"}
    refused = client.post("/predict", data=data, files=files)
    assert parse_error(refused, 404)[0] == "unknown_version"
    del data["version_label"]
    version = client.get("/model/summary").json()["version"]
    answer = parse_predictions(
        client.post("/predict", data={**data, "version": version}, files=files)
    )
    assert len(answer.predictions[0].top_k or ()) == 2
    assert answer.predictions[0].preparation == "photo"
    first = client.post("/predict?top_k=3", data=data, files=files)
    assert len(parse_predictions(first).predictions[0].top_k or ()) == 3
    maps = client.post(
        "/feature-maps", data={"layer": "conv2d_1", "channels": ["0", "3"]}, files=files
    ).json()["layers"]
    assert [(layer["name"], layer["channels"]) for layer in maps] == [("conv2d_1", [0, 3])]
    drawn = client.post("/feature-maps", data={"format": "png"}, files=files)
    assert drawn.headers["Content-Type"] == "image/png"


@pytest.mark.parametrize(
    ("data", "code", "reason"),
    [
        ({"note": "hello"}, "invalid_parameter", "note: unknown parameter"),
        ({"files": "image.png"}, "invalid_parameter", "curl -F a=@a.png"),
        ({"top_k": "11"}, "invalid_parameter", "top_k: 11, but the model has 10 classes"),
        ({"top_k": "many"}, "invalid_parameter", "top_k: "),
        ({"prepare": "magic"}, "invalid_parameter", "prepare: "),
    ],
)
def test_invalid_text_field_is_a_400_that_names_it(
    client: httpx.Client, image: bytes, data: dict[str, str], code: str, reason: str
) -> None:
    files = {"file": ("a.png", image)}
    for sent in (image, image * 200):  # By the fast path, and as a large job.
        files = {"file": ("a.png", sent)}
        found, message = parse_error(client.post("/predict", data=data, files=files), 400)
        assert found == code
        assert reason in message


@pytest.mark.parametrize(
    ("method", "target", "nearest"),
    [
        ("POST", "/predict?topk=3", "top_k"),
        ("PUT", "/predict?prepared=photo", "prepare"),
        ("POST", "/feature-maps?layers=conv2d_1", "layer"),
        ("POST", "/preparation?Version=1", "version"),
        ("GET", "/model/summary?label=stable", "version_label"),
        ("GET", "/model/layers/dense_2?channel=1", "channels"),
    ],
)
def test_unknown_parameter_is_a_400_that_suggests_the_closest(
    client: httpx.Client, image: bytes, method: str, target: str, nearest: str
) -> None:
    response = client.request(method, target, content=image if method != "GET" else None)
    code, message = parse_error(response, 400)
    assert code == "invalid_parameter"
    assert message.startswith(f"{target.partition('?')[2].partition('=')[0]}: ")
    assert f"did you mean {nearest}?" in message


def test_image_that_is_not_in_a_list_is_a_400_that_says_so(
    client: httpx.Client, test_slice: tuple[Pixels, Pixels]
) -> None:
    image = test_slice[0][0]
    for shape in ((28, 28), (28, 28, 1), (784,)):
        document = {"instances": image.reshape(shape).tolist()}
        assert parse_error(client.post("/predict", json=document), 400) == (
            "invalid_instances",
            'instances is one image, not a list: write {"instances": [<image>]}',
        )
        assert "in a list of its own" in client.post(V1, json=document).text
        data = image.reshape(-1).tolist()
        assert "in a list of its own" in client.post(V2, json=tensor(shape=shape, data=data)).text
    for document in ({"image": 1, "b64": ""}, {"data": []}):
        _, message = parse_error(client.post("/predict", json=document), 400)
        assert '{"instances": [...]}' in message
        assert all(repr(key) in message for key in document)


def test_pixels_in_0_to_1_are_a_400_unless_scale_is_1(
    client: httpx.Client, test_slice: tuple[Pixels, Pixels]
) -> None:
    image = test_slice[0][0]
    divided = (image / 255).tolist()
    whole = image.tolist()
    for path in IMAGE_ROUTES:
        for instances in ([divided], [whole, divided], [divided, {"b64": ""}]):
            code, message = parse_error(client.post(path, json={"instances": instances}), 400)
            assert code == "invalid_instances"
            assert f"instances[{instances.index(divided)}]: all numbers are in 0…1" in message
            assert "?scale=1" in message
        separator = "&" if "?" in path else "?"
        document = {"instances": [divided]}
        assert client.post(f"{path}{separator}scale=1", json=document).status_code == 200
    expected = parse_predictions(client.post("/predict", json={"instances": [whole]})).predictions[
        0
    ]
    for instances in ([divided], [divided, divided], [divided, as_row(image)]):
        response = client.post("/predict?scale=1", json={"instances": instances})
        got = parse_predictions(response).predictions[0]
        assert got.probabilities == pytest.approx(expected.probabilities, abs=1e-5)
    black_and_white = {"instances": [(image > 127).astype(int).tolist()]}
    for scale in (255, 1):
        response = client.post(f"/predict?scale={scale}", json=black_and_white)
        assert response.status_code == 200
    _, message = parse_error(client.post("/predict?scale=1", json={"instances": [whole]}), 400)
    assert message.endswith("is not a number in 0…1")


def as_row(image: Pixels) -> list[float]:
    """Return the pixels in another shape, so that the instances are not parsed as one array."""
    flat: list[float] = (image.reshape(-1) / 255).tolist()
    return flat


def test_floats_above_1_cause_a_warning(
    client: httpx.Client, test_slice: tuple[Pixels, Pixels]
) -> None:
    whole = test_slice[0][:1].reshape(1, 784)
    divided = whole / 255
    text = "images: the largest number is 255, and 1 is white: divide by 255"
    for pixels, is_warned in ((whole, True), (divided, False)):
        floats = pixels.astype(float).tolist()
        for datatype in ("FP32", "FP64"):
            answer = client.post(V2, json=tensor(datatype=datatype, data=floats))
            assert answer.status_code == 200
            assert answer.json().get("parameters") == ({"warning": text} if is_warned else None)
            assert answer.headers.get("Warning") == (f'199 - "{text}"' if is_warned else None)
        for document in ({"instances": floats}, {"inputs": {"images": floats}}):
            answer = client.post(V1, json=document)
            assert answer.status_code == 200
            assert ("Warning" in answer.headers) is is_warned
    for datatype in ("UINT8", "INT32"):
        answer = client.post(V2, json=tensor(datatype=datatype, data=whole.tolist()))
        assert "Warning" not in answer.headers
