"""The Open Inference Protocol over REST: documented and invalid requests."""

import base64
import json
import struct
import threading
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from service.model import repository as repository_module
from service.model.artifact import Artifact
from service.model.classifier import Classifier
from service.model.repository import load_classifier
from service.settings import EngineChoice, Settings
from tests.service.conftest import ARTIFACTS, DEFAULT_VERSION, Encode, serve, wait_until_ready
from tests.service.http.test_predict import parse_predictions

Slice = tuple[NDArray[np.uint8], NDArray[np.uint8]]

INFER = "/v2/models/fashion_mnist/infer"
CLASSES = [{"name": name} for name in ("probabilities", "class_id", "label")]
LENGTH = "Inference-Header-Content-Length"
BLACK = {"name": "images", "shape": [1, 784], "datatype": "UINT8", "data": [0] * 784}


def protocol_error(response: httpx.Response, status: int = 400) -> str:
    """Return the message of a response in the error format of the protocol."""
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/json"
    body = response.json()
    assert body.keys() == {"error"}
    message: str = body["error"]
    return message


def infer(client: httpx.Client, *inputs: object, **fields: object) -> dict[str, Any]:
    response = client.post(INFER, json={"inputs": inputs, "outputs": CLASSES, **fields})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def infer_binary(
    client: httpx.Client, header: dict[str, Any], *tensors: bytes
) -> tuple[dict[str, Any], bytes]:
    head = json.dumps(header).encode()
    response = client.post(
        INFER, content=b"".join([head, *tensors]), headers={LENGTH: str(len(head))}
    )
    assert response.status_code == 200, response.text
    if LENGTH not in response.headers:
        return response.json(), b""
    assert response.headers["Content-Type"] == "application/octet-stream"
    length = int(response.headers[LENGTH])
    return json.loads(response.content[:length]), response.content[length:]


def numeric(images: NDArray[Any], datatype: str) -> dict[str, Any]:
    return {
        "name": "images",
        "shape": list(images.shape),
        "datatype": datatype,
        "data": images.tolist(),
    }


def output(answer: dict[str, Any], name: str) -> Any:
    [found] = [output for output in answer["outputs"] if output["name"] == name]
    return found["data"]


def test_health_and_metadata_have_the_fields_of_the_protocol(
    client: httpx.Client, artifact: Artifact
) -> None:
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}
    server = client.get("/v2").json()
    assert server.keys() == {"name", "version", "extensions"}
    names = ["fashion_mnist", "fashion_mnist_pictures", "fashion_mnist_layers"]
    assert client.get("/v2/models").json() == {"models": names}
    numbers, files, layers = (client.get(f"/v2/models/{name}").json() for name in names)
    assert numbers.keys() == {"name", "versions", "platform", "inputs", "outputs"}
    assert numbers["platform"] == "tensorflow_savedmodel"
    images = {"name": "images", "datatype": "FP32", "shape": [-1, 28, 28, 1]}
    probabilities = {"name": "probabilities", "datatype": "FP32", "shape": [-1, 10]}
    assert (numbers["inputs"], numbers["outputs"]) == ([images], [probabilities])
    assert files["inputs"] == [{"name": "image", "datatype": "BYTES", "shape": [-1]}]
    assert files["outputs"] == [
        probabilities,
        {"name": "class_id", "datatype": "INT64", "shape": [-1]},
        {"name": "label", "datatype": "BYTES", "shape": [-1]},
        {"name": "novelty", "datatype": "FP32", "shape": [-1]},
        {"name": "in_distribution", "datatype": "BOOL", "shape": [-1]},
    ]
    assert layers["inputs"] == [images]
    assert [(o["name"], o["shape"]) for o in layers["outputs"]] == [
        (layer.name, [-1, *layer.output_shape]) for layer in artifact.manifest.layers
    ]


@pytest.mark.parametrize("ending", ["", "_pictures", "_layers"])
def test_default_outputs_are_those_of_metadata_and_configuration(
    client: httpx.Client, boot_png: bytes, ending: str
) -> None:
    name = f"fashion_mnist{ending}"
    metadata = client.get(f"/v2/models/{name}").json()
    config = client.get(f"/v2/models/{name}/versions/{DEFAULT_VERSION}/config").json()
    sent = BLACK
    if name == "fashion_mnist_pictures":
        data = [base64.b64encode(boot_png).decode()]
        sent = {"name": "image", "shape": [1], "datatype": "BYTES", "data": data}
    answer = client.post(f"/v2/models/{name}/infer", json={"inputs": [sent]}).json()
    assert answer["model_name"] == metadata["name"] == config["name"] == name
    assert [(o["name"], o["datatype"], o["shape"]) for o in answer["outputs"]] == [
        (o["name"], o["datatype"], [1, *o["shape"][1:]]) for o in metadata["outputs"]
    ]
    assert config["platform"] == "tensorflow_savedmodel"
    assert config["max_batch_size"] == 256
    [input_] = config["input"]
    assert (input_["name"], input_["dims"]) == (
        metadata["inputs"][0]["name"],
        metadata["inputs"][0]["shape"][1:],
    )
    assert input_.get("format") == (None if sent["datatype"] == "BYTES" else "FORMAT_NHWC")
    assert [(o["name"], o["data_type"], o["dims"]) for o in config["output"]] == [
        (o["name"], f"TYPE_{o['datatype']}".replace("BYTES", "STRING"), o["shape"][1:])
        for o in metadata["outputs"]
    ]


def test_all_layers_of_many_images_are_a_413(client: httpx.Client) -> None:
    eight = {**BLACK, "shape": [8, 784], "data": [0] * 8 * 784}
    every = "/v2/models/fashion_mnist_layers/infer"
    response = client.post(every, json={"inputs": [eight]})
    assert "the layers of 8 images" in protocol_error(response, 413)
    some = [{"name": "max_pooling2d_2"}, {"name": "dense_1"}]
    assert client.post(every, json={"inputs": [eight], "outputs": some}).status_code == 200
    body = {"signature_name": "feature_maps", "instances": [[0] * 784] * 8}
    response = client.post("/v1/models/fashion_mnist:predict", json=body)
    assert "the layers of 8 images" in protocol_error(response, 413)


def test_server_is_live_but_not_ready_until_a_version_is_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    may_load = threading.Event()

    def load_after_event(directory: Path, engine: EngineChoice) -> Classifier:
        may_load.wait(timeout=30)
        return load_classifier(directory, engine)

    monkeypatch.setattr(repository_module, "load_classifier", load_after_event)
    with serve(Settings(artifacts=ARTIFACTS, engine="litert"), wait=False) as client:
        try:
            assert client.get("/v2/health/live").status_code == 200
            assert client.get("/v2/health/ready").json() == {"ready": False}
            assert client.get("/v2/health/ready").status_code == 503
            assert client.get("/v2/models").json() == {"models": []}
            for path in ("/v2/models/fashion_mnist", "/v2/models/fashion_mnist/ready"):
                assert "loaded" in protocol_error(client.get(path), 503)
            assert "loaded" in protocol_error(client.post(INFER, json={}), 503)
            path = "/v1/models/fashion_mnist:predict"
            assert "loaded" in protocol_error(client.post(path, json={}), 503)
        finally:
            may_load.set()
        wait_until_ready(client)
        assert client.get("/v2/models/fashion_mnist/ready").status_code == 200


def test_response_contains_model_version_and_id(client: httpx.Client) -> None:
    answer = infer(client, BLACK, id="order 7")
    assert answer["model_name"] == "fashion_mnist"
    assert answer["model_version"] == DEFAULT_VERSION
    assert answer["id"] == "order 7"
    assert sum(output(answer, "probabilities")) == pytest.approx(1, abs=1e-5)
    assert infer(client, BLACK)["id"] != infer(client, BLACK)["id"]


@pytest.fixture(scope="module")
def predicted(
    client: httpx.Client, test_slice: Slice, encode: Encode
) -> tuple[list[str], NDArray[Any]]:
    """Labels and (5, 10) probabilities of the first images, by `/predict`, one at a time."""
    alone = [
        parse_predictions(client.post("/predict", content=encode(image))).predictions[0]
        for image in test_slice[0][:5]
    ]
    return [p.label for p in alone], np.array([list(p.probabilities.values()) for p in alone])


@pytest.mark.parametrize("shape", [(28, 28, 1), (28, 28), (784,)])
@pytest.mark.parametrize(
    "dtype", ["<u1", "<u2", "<u4", "<u8", "<i2", "<i4", "<i8", "<f2", "<f4", "<f8"]
)
def test_every_datatype_and_shape_returns_the_predictions_of_predict(
    client: httpx.Client,
    test_slice: Slice,
    predicted: tuple[list[str], NDArray[Any]],
    shape: tuple[int, ...],
    dtype: str,
) -> None:
    images = test_slice[0][:5].reshape(5, *shape).astype(dtype)
    if images.dtype.kind == "f":
        images /= images.dtype.type(255)
    datatype = images.dtype.name.upper().replace("FLOAT", "FP")
    nested = numeric(images, datatype)
    flat = {**nested, "data": images.reshape(-1).tolist()}
    raw = images.tobytes()
    binary = {**nested, "parameters": {"binary_data_size": len(raw)}}
    del binary["data"]
    for answer in (
        *([] if datatype == "FP16" else [infer(client, nested), infer(client, flat)]),
        infer_binary(client, {"inputs": [binary], "outputs": CLASSES}, raw)[0],
    ):
        assert output(answer, "label") == predicted[0]
        rows = np.reshape(output(answer, "probabilities"), (5, 10))
        np.testing.assert_allclose(rows, predicted[1], atol=1e-2 if datatype == "FP16" else 1e-5)


def test_encoded_images_are_accepted_as_binary_and_as_base64(
    client: httpx.Client, test_slice: Slice, encode: Encode
) -> None:
    files = [encode(test_slice[0][i], kind) for i, kind in ((0, "PNG"), (1, "BMP"), (2, "GIF"))]
    expected = [
        parse_predictions(client.post("/predict", content=file)).predictions[0].label
        for file in files
    ]
    tensor: dict[str, Any] = {"name": "image", "shape": [3], "datatype": "BYTES"}
    encoded = [base64.b64encode(file).decode() for file in files]
    assert output(infer(client, {**tensor, "data": encoded}), "label") == expected

    raw = b"".join(struct.pack("<I", len(file)) + file for file in files)
    tensor |= {"shape": [3, 1], "parameters": {"binary_data_size": len(raw)}}
    answer, _ = infer_binary(client, {"inputs": [tensor], "outputs": CLASSES}, raw)
    assert output(answer, "label") == expected


def test_prepare_parameter_selects_the_preparation(client: httpx.Client, boot_png: bytes) -> None:
    data = [base64.b64encode(boot_png).decode()]
    tensor = {"name": "image", "shape": [1], "datatype": "BYTES", "data": data}
    for prepare in ("auto", "photo", "plain"):
        alone = parse_predictions(client.post(f"/predict?prepare={prepare}", content=boot_png))
        answer = infer(client, tensor, parameters={"prepare": prepare})
        np.testing.assert_allclose(
            output(answer, "probabilities"),
            list(alone.predictions[0].probabilities.values()),
            atol=1e-6,
        )
    body = {"inputs": [tensor], "parameters": {"prepare": "magic"}}
    assert "prepare: 'magic'" in protocol_error(client.post(INFER, json=body))


def test_layers_are_returned_by_name(
    client: httpx.Client, test_slice: Slice, artifact: Artifact, encode: Encode
) -> None:
    wanted = [{"name": layer.name} for layer in artifact.manifest.layers]
    answer = infer(client, numeric(test_slice[0][:3], "UINT8"), outputs=wanted)
    assert [(o["name"], tuple(o["shape"])) for o in answer["outputs"]] == [
        (layer.name, (3, *layer.output_shape)) for layer in artifact.manifest.layers
    ]
    maps = np.reshape(output(answer, "max_pooling2d_2"), (3, 7, 7, 64))
    for index in range(3):
        response = client.post(
            "/feature-maps?layer=max_pooling2d_2", content=encode(test_slice[0][index])
        )
        alone = np.transpose(response.json()["layers"][0]["maps"], (1, 2, 0))
        np.testing.assert_allclose(maps[index], alone, atol=1e-5)


def test_novelty_and_in_distribution_are_returned_by_name(
    client: httpx.Client, test_slice: Slice, encode: Encode
) -> None:
    noise = np.random.default_rng(1).integers(256, size=(28, 28), dtype=np.uint8)
    images = np.stack([test_slice[0][0], noise])
    wanted = [{"name": "in_distribution"}, {"name": "novelty"}, {"name": "class_id"}]
    answer = infer(client, numeric(images, "UINT8"), outputs=wanted)
    assert [(o["name"], o["datatype"], o["shape"]) for o in answer["outputs"]] == [
        ("in_distribution", "BOOL", [2]),
        ("novelty", "FP32", [2]),
        ("class_id", "INT64", [2]),
    ]
    assert output(answer, "in_distribution") == [True, False]
    for novelty, image in zip(output(answer, "novelty"), images, strict=True):
        response = client.post("/predict", content=encode(image))
        assert novelty == pytest.approx(
            parse_predictions(response).predictions[0].novelty, abs=1e-3
        )
    header = {
        "inputs": [numeric(images, "UINT8")],
        "outputs": wanted[:1],
        "parameters": {"binary_data_output": True},
    }
    assert infer_binary(client, header)[1] == b"\x01\x00"


def test_each_output_is_returned_as_binary_or_json_as_requested(
    client: httpx.Client, test_slice: Slice
) -> None:
    raw = test_slice[0][:2].tobytes()
    header = {
        "inputs": [
            {
                "name": "images",
                "shape": [2, 28, 28],
                "datatype": "UINT8",
                "parameters": {"binary_data_size": len(raw)},
            }
        ],
        "outputs": [
            {"name": "class_id"},
            {"name": "probabilities", "parameters": {"binary_data": False}},
            {"name": "label", "parameters": {"binary_data": True}},
            {"name": "dense_1"},
        ],
        "parameters": {"binary_data_output": True},
    }
    answer, tail = infer_binary(client, header, raw)
    sizes = [o.get("parameters", {}).get("binary_data_size") for o in answer["outputs"]]
    assert sizes == [16, None, 4 + 10 + 4 + 8, 800]
    assert np.frombuffer(tail[:16], "<i8").tolist() == [9, 2]
    assert tail[16:42] == b"\x0a\0\0\0Ankle boot\x08\0\0\0Pullover"
    assert len(tail) == 842
    assert np.argmax(np.reshape(output(answer, "probabilities"), (2, 10)), axis=1).tolist() == [
        9,
        2,
    ]


def test_header_length_zero_means_a_raw_image_and_a_binary_response(
    client: httpx.Client, test_slice: Slice
) -> None:
    raw = (test_slice[0][0] / np.float32(255)).astype("<f4").tobytes()
    response = client.post(INFER, content=raw, headers={LENGTH: "0"})
    assert response.status_code == 200, response.text
    length = int(response.headers[LENGTH])
    answer = json.loads(response.content[:length])
    assert [o["parameters"]["binary_data_size"] for o in answer["outputs"]] == [40]
    assert np.frombuffer(response.content[length:], "<f4").argmax() == 9
    response = client.post(INFER, content=raw[:-1], headers={LENGTH: "0"})
    assert "3135 bytes, FP32 of shape [1, 28, 28, 1] has 3136" in protocol_error(response)


def test_classification_lists_value_index_and_label_best_first(
    client: httpx.Client, test_slice: Slice
) -> None:
    wanted = [{"name": "probabilities", "parameters": {"classification": 3}}]
    answer = infer(client, numeric(test_slice[0][:2], "UINT8"), outputs=wanted)
    assert answer["outputs"][0]["datatype"] == "BYTES"
    assert answer["outputs"][0]["shape"] == [2, 3]
    ranked = [text.split(":") for text in output(answer, "probabilities")]
    assert (ranked[0][1:], ranked[3][1:]) == (["9", "Ankle boot"], ["2", "Pullover"])
    for row in (ranked[:3], ranked[3:]):
        values = [float(value) for value, _, _ in row]
        assert values == sorted(values, reverse=True)
    wanted[0]["parameters"] = {"classification": 99}
    assert infer(client, BLACK, outputs=wanted)["outputs"][0]["shape"] == [1, 10]


def test_nan_in_an_image_returns_nan_and_no_class_for_that_image_only(
    client: httpx.Client, test_slice: Slice
) -> None:
    images = (test_slice[0][:3] / np.float32(255)).astype("<f4")
    expected = output(infer(client, numeric(images, "FP32")), "class_id")
    images[1, 14, 14] = np.nan
    body = json.dumps({"inputs": [numeric(images, "FP32")]})
    answer = client.post(INFER, content=body).json()
    rows = np.reshape(np.array(output(answer, "probabilities"), float), (3, 10))
    assert np.isnan(rows).all(axis=1).tolist() == [False, True, False]
    assert rows[[0, 2]].argmax(axis=1).tolist() == [expected[0], expected[2]]


def changed(**fields: object) -> dict[str, Any]:
    return {"inputs": [{**BLACK, **fields}]}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (changed(name="pixels"), "no input 'pixels'; the inputs are images and image"),
        (
            changed(datatype="half"),
            "datatype 'half' is not one of UINT8, UINT16, UINT32, UINT64, "
            "INT8, INT16, INT32, INT64, FP16, FP32, FP64, BYTES",
        ),
        (changed(datatype="INT8", data=[-1] * 784), "images: -1 is outside 0…255"),
        (changed(parameters={"shared_memory_region": "a"}), "images: shared_memory_region"),
        (
            {
                "inputs": [BLACK],
                "outputs": [{"name": "label", "parameters": {"shared_memory_region": "a"}}],
            },
            "label: shared_memory_region: not supported",
        ),
        (changed(datatype="FLOAT"), "datatype 'FLOAT' is not one of"),
        (
            changed(datatype="FP16"),
            "FP16 has only a binary form; send that, or one of UINT8",
        ),
        (changed(datatype="BOOL", data=[True] * 784), "images: BOOL, expected one of"),
        (changed(datatype="BYTES", data=["AA=="] * 784), "images: BYTES, expected one of"),
        (changed(name="image"), "image: UINT8, expected BYTES"),
        (changed(shape=[1, 28, 27]), "data of shape [784], the tensor has shape [1, 28, 27]"),
        (changed(shape=[784]), "shape [784], expected [n, 28, 28, 1]"),
        (changed(shape=[]), "data of shape [784], the tensor has shape []"),
        (changed(shape=[0, 784], data=[]), "shape [0, 784] holds no image"),
        (changed(shape=[1, 784, 0], data=[]), "shape [1, 784, 0], expected"),
        (changed(shape=[2**62, 2**62, 0], data=[]), "no tensor can have the shape"),
        (changed(shape=[1] * 100 + [784]), "images: 101 dimensions, but a tensor has at most 64"),
        (changed(shape=[2**63 - 1] * 300), "images: 300 dimensions"),
        (changed(shape=[2**63, 784]), "images: the shape has a dimension over"),
        (changed(shape=[-1, 784]), "images: the shape has a negative dimension"),
        (changed(shape=[1.0, 784]), "inputs.0.shape.0: Input should be a valid integer"),
        (changed(name="x" * 10_000), "xxx…xxx"),
        (changed(datatype="x" * 10_000), "images: datatype 'xxx"),
        (changed(shape="28"), "inputs.0.shape: Input should be a valid list"),
        (changed(data=[0] * 783), "data of shape [783]"),
        (changed(data=[[0] * 783 + [[0]]]), "data mixes lists and values"),
        (changed(data=[[0] * 783, [0]]), "data is ragged: lists of 1 and 783"),
        (changed(data=["0"] * 784), "data has values that are not UINT8"),
        (changed(data=[True] * 784), "data has values that are not UINT8"),
        (changed(data=[0.5] * 784), "data has values that are not UINT8"),
        (changed(data=[256] * 784), "out of the range of UINT8"),
        (changed(data=[256] * 784, datatype="INT32"), "images: 256 is outside 0…255"),
        (changed(data=[-1] * 784, datatype="INT64"), "images: -1 is outside 0…255"),
        (changed(data=[10**40] * 784, datatype="INT64"), "data has values that are not INT64"),
        (changed(data=[2**63] * 784, datatype="INT64"), "out of the range of INT64"),
        (changed(data=[10**400] * 784, datatype="FP32"), "out of the range of FP32"),
        (changed(data=None), "data must be a list"),
        (changed(parameters={"binary_data_size": 784}), "data or binary_data_size, not both"),
        (changed(parameters={"binary_data_size": "784"}), "should be a valid integer"),
        ({"inputs": []}, "0 inputs, expected one"),
        ({"inputs": [BLACK, {"name": "images"}]}, "2 inputs, expected one"),
        ({"inputs": {}}, "inputs: Input should be a valid list"),
        ({"input": [BLACK]}, "inputs: Field required"),
        ([BLACK], "the request: Input should be"),
        ({"inputs": [BLACK], "outputs": [{"name": "logits"}]}, "no output 'logits'"),
        ({"inputs": [BLACK], "outputs": [{"name": "label"}] * 2}, "requested twice"),
        (
            {
                "inputs": [BLACK],
                "outputs": [{"name": "label", "parameters": {"classification": 1}}],
            },
            "classification applies only to probabilities",
        ),
        (
            {
                "inputs": [BLACK],
                "outputs": [{"name": "probabilities", "parameters": {"classification": -1}}],
            },
            "must not be negative",
        ),
        (
            {"inputs": [{"name": "image", "shape": [1], "datatype": "BYTES", "data": ["%"]}]},
            "element 0 of data is not valid base64",
        ),
        (
            {"inputs": [{"name": "image", "shape": [1], "datatype": "BYTES", "data": ["AAAA"]}]},
            "image[0]: not an image",
        ),
        (
            {"inputs": [{"name": "image", "shape": [1], "datatype": "BYTES", "data": [7]}]},
            "must be strings",
        ),
        (
            changed(name="image", shape=[3_000_000], datatype="BYTES", data=[]),
            "image: 3000000 elements, but BYTES has at most 65536",
        ),
        (
            {"inputs": [{"name": "image", "shape": [1, 1, 1], "datatype": "BYTES", "data": [""]}]},
            "shape [1, 1, 1], expected [n] or [n, 1]",
        ),
    ],
)
def test_invalid_request_is_a_400_that_names_the_reason(
    client: httpx.Client, body: object, reason: str
) -> None:
    assert reason in protocol_error(client.post(INFER, content=json.dumps(body)))


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{", "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
        (b"[" * 100_000, "deeper than 16"),
        (b'{"inputs":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "deeper than 16"),
    ],
)
def test_invalid_or_too_deeply_nested_json_is_a_400(
    client: httpx.Client, body: bytes, reason: str
) -> None:
    assert reason in protocol_error(client.post(INFER, content=body))


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ('{"inputs": [%s]}', "inputs.0: Input should be a valid dictionary"),
        (
            '{"inputs": [{"name": "images", "datatype": "UINT8", "shape": [1], "data": [0]}], '
            '"outputs": [%s]}',
            "outputs.0: Input should be a valid dictionary",
        ),
        (
            '{"inputs": [{"name": "images", "datatype": "UINT8", "shape": [%s], '
            '"parameters": {"binary_data_size": 0}}]}',
            "inputs.0.shape: List should have at most 1024 items",
        ),
    ],
)
def test_validation_stops_at_the_first_of_many_invalid_items(
    client: httpx.Client, document: str, reason: str
) -> None:
    # Validating all of them would block every other request beyond the deadline.
    body = document % ",".join(["9223372036854775807"] * 700_000)
    response = client.post(INFER, content=body, headers={"X-Request-Timeout": "9"})
    assert reason in protocol_error(response)


def test_null_field_counts_as_absent(client: httpx.Client) -> None:
    nulls = {"id": None, "parameters": None, "outputs": None}
    body = {**nulls, "inputs": [{**BLACK, "parameters": None}]}
    assert "probabilities" in client.post(INFER, json=body).text


def test_unknown_fields_and_parameters_are_ignored(client: httpx.Client) -> None:
    theirs = {**BLACK, "parameters": {"content_type": "np"}}
    answer = infer(client, theirs, id="7", parameters={"priority": 1, "timeout": 9}, model="x")
    assert answer == infer(client, BLACK, id="7")


@pytest.mark.parametrize("length", ["", "-1", "x", "1e3", "99999999", "9" * 30, "٣"])
def test_invalid_header_length_is_a_400(client: httpx.Client, length: str) -> None:
    body = json.dumps({"inputs": [BLACK]}).encode()
    headers = {LENGTH.encode(): length.encode()}
    assert protocol_error(client.post(INFER, content=body, headers=headers))


@pytest.mark.parametrize(
    ("size", "sent", "reason"),
    [
        (784, 783, "binary_data_size is 784, 783 bytes follow the JSON"),
        (784, 0, "binary_data_size is 784, 0 bytes follow the JSON"),
        (783, 783, "783 bytes, UINT8 of shape [1, 784] has 784 bytes"),
        (784, 790, "6 bytes of the body belong to no input"),
    ],
)
def test_binary_data_of_a_wrong_length_is_a_400(
    client: httpx.Client, size: int, sent: int, reason: str
) -> None:
    tensor = {**BLACK, "parameters": {"binary_data_size": size}}
    del tensor["data"]
    head = json.dumps({"inputs": [tensor]}).encode()
    headers = {LENGTH: str(len(head))}
    response = client.post(INFER, content=head + b"\0" * sent, headers=headers)
    assert reason in protocol_error(response)
    if sent >= size:
        response = client.post(INFER, content=head, headers={})
        assert "0 bytes follow the JSON" in protocol_error(response)


def test_binary_data_after_a_json_tensor_is_a_400(client: httpx.Client) -> None:
    head = json.dumps({"inputs": [BLACK]}).encode()
    response = client.post(INFER, content=head + b"\0", headers={LENGTH: str(len(head))})
    assert "1 bytes of the body belong to no input" in protocol_error(response)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"\x01\0", "the bytes end inside the length of element 0"),
        (b"\x09\0\0\0abc", "element 0 has 3 bytes, its length says 9"),
        (b"\xff\xff\xff\xffabc", "its length says 4294967295"),
        (b"\0\0\0\0\0\0\0\0", "more elements than the 1 of the shape"),
        (b"", "0 elements, the shape has 1"),
        (b"\0\0\0\0", "image[0]: the image is empty"),
    ],
)
def test_inconsistent_bytes_elements_are_a_400(
    client: httpx.Client, raw: bytes, reason: str
) -> None:
    tensor = {
        "name": "image",
        "shape": [1],
        "datatype": "BYTES",
        "parameters": {"binary_data_size": len(raw)},
    }
    head = json.dumps({"inputs": [tensor]}).encode()
    response = client.post(INFER, content=head + raw, headers={LENGTH: str(len(head))})
    assert reason in protocol_error(response)


@pytest.mark.parametrize("path", ["index", "models/fashion_mnist/load"])
def test_repository_request_with_too_many_brackets_is_a_413(
    client: httpx.Client, path: str
) -> None:
    response = client.post(f"/v2/repository/{path}", content=b"[" + b"[]," * 1000 + b"[]]")
    assert "more than 1024 brackets" in protocol_error(response, 413)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2/nowhere", 404),
        ("GET", "/v2/models/other", 404),
        ("GET", "/v2/models/other/ready", 404),
        ("GET", "/v2/models/other/stats", 404),
        ("POST", "/v2/models/other/infer", 404),
        ("POST", "/v2/repository/models/other/load", 404),
        ("POST", "/v2/repository/models/other/unload", 404),
        ("GET", INFER, 405),
        ("DELETE", "/v2", 405),
        ("POST", INFER, 400),
    ],
)
def test_unknown_path_method_or_model_returns_an_error_of_the_protocol(
    client: httpx.Client, method: str, path: str, status: int
) -> None:
    response = client.request(method, path)
    assert protocol_error(response, status)
    if status == 405:
        assert response.headers["Allow"] == (
            "GET, HEAD, OPTIONS" if path == "/v2" else "OPTIONS, POST"
        )


def test_too_many_images_or_bytes_are_a_413_and_brotli_a_415(
    strict_client: httpx.Client, boot_png: bytes
) -> None:
    four = {**BLACK, "shape": [4, 784], "data": [0] * 4 * 784}
    response = strict_client.post(INFER, json={"inputs": [four]})
    assert protocol_error(response, 413) == "images: 4 images, the limit is 3"
    data = [base64.b64encode(boot_png).decode()] * 4
    four = {"name": "image", "shape": [4], "datatype": "BYTES", "data": data}
    response = strict_client.post(INFER, json={"inputs": [four]})
    assert protocol_error(response, 413) == "image: 4 images, the limit is 3"
    assert "200000 bytes" in protocol_error(strict_client.post(INFER, content=b"0" * 200_001), 413)
    response = strict_client.post(INFER, content=b"0", headers={"Content-Encoding": "br"})
    assert "Content-Encoding" in protocol_error(response, 415)
