"""The published `tritonclient[http]` against this service."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException

from service.settings import EngineChoice, Settings
from tests.service.conftest import DEFAULT_VERSION, Encode, publish, serve

Slice = tuple[NDArray[np.uint8], NDArray[np.uint8]]

MODEL = "fashion_mnist"


@pytest.fixture(scope="module")
def server(client: httpx.Client) -> Iterator[Any]:
    with triton.InferenceServerClient(client.base_url.netloc.decode()) as server:
        yield server


def tensor(name: str, values: NDArray[Any], datatype: str, *, binary: bool) -> Any:
    given = triton.InferInput(name, values.shape, datatype)
    given.set_data_from_numpy(values, binary_data=binary)
    return given


def test_health_and_metadata(server: Any) -> None:
    assert server.is_server_live()
    assert server.is_server_ready()
    assert server.is_model_ready(MODEL)
    assert server.is_model_ready(MODEL, DEFAULT_VERSION)
    assert not server.is_model_ready(MODEL, "7")
    assert server.get_server_metadata()["extensions"] == [
        "binary_tensor_data",
        "classification",
        "model_configuration",
        "model_repository",
        "statistics",
    ]
    assert server.get_model_metadata(MODEL, DEFAULT_VERSION)["platform"] == "tensorflow_savedmodel"


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64", "float32", "float64"])
def test_infer_in_json_and_binary(
    server: Any, test_slice: Slice, dtype: str, binary_in: bool, binary_out: bool
) -> None:
    images = test_slice[0][[0, 1, 2, 3, 5, 6]].astype(dtype)
    if images.dtype.kind == "f":
        images /= images.dtype.type(255)
    datatype = {"float32": "FP32", "float64": "FP64"}.get(dtype, dtype.upper())
    outputs = [
        triton.InferRequestedOutput(name, binary_data=binary_out)
        for name in ("label", "max_pooling2d_2", "class_id", "probabilities")
    ]
    answer = server.infer(
        MODEL,
        [tensor("images", images, datatype, binary=binary_in)],
        outputs=outputs,
        request_id="7",
    )
    assert answer.get_response()["id"] == "7"
    assert answer.as_numpy("class_id").tolist() == [9, 2, 1, 1, 1, 4]
    assert answer.as_numpy("probabilities").argmax(axis=1).tolist() == [9, 2, 1, 1, 1, 4]
    assert answer.as_numpy("max_pooling2d_2").shape == (6, 7, 7, 64)
    labels = [str(label, "utf-8") if binary_out else label for label in answer.as_numpy("label")]
    assert labels[:2] == ["Ankle boot", "Pullover"]


def test_infer_with_default_outputs(server: Any, test_slice: Slice) -> None:
    given = tensor("images", test_slice[0][:2], "UINT8", binary=True)
    answer = server.infer(MODEL, [given], model_version=DEFAULT_VERSION)
    assert answer.as_numpy("probabilities").shape == (2, 10)


def test_infer_returns_classifications(server: Any, test_slice: Slice) -> None:
    wanted = [triton.InferRequestedOutput("probabilities", class_count=2)]
    given = tensor("images", test_slice[0][:2], "UINT8", binary=True)
    ranked = server.infer(MODEL, [given], outputs=wanted).as_numpy("probabilities")
    assert ranked.shape == (2, 2)
    value, index, label = ranked[0, 0].decode().split(":")
    assert (index, label) == ("9", "Ankle boot")
    assert float(value) > 0.9


def test_infer_with_encoded_images(server: Any, test_slice: Slice, encode: Encode) -> None:
    files = np.array([encode(test_slice[0][i]) for i in (1, 0)], np.object_)
    answer = server.infer("fashion_mnist_pictures", [tensor("image", files, "BYTES", binary=True)])
    assert answer.as_numpy("label").tolist() == [b"Pullover", b"Ankle boot"]


def test_error_is_raised_as_an_inference_server_exception(server: Any, test_slice: Slice) -> None:
    given = tensor("pixels", test_slice[0][:1], "UINT8", binary=True)
    with pytest.raises(InferenceServerException, match="no input 'pixels'"):
        server.infer(MODEL, [given])
    with pytest.raises(InferenceServerException, match="no model 'other'"):
        server.infer("other", [given])


def test_statistics_count_images_executions_and_every_phase(
    engine_choice: EngineChoice, copied_artifacts: Path, test_slice: Slice
) -> None:
    settings = Settings(artifacts=copied_artifacts, engine=engine_choice)
    with (
        serve(settings) as client,
        triton.InferenceServerClient(client.base_url.netloc.decode()) as server,
    ):
        given = tensor("images", test_slice[0][:5], "UINT8", binary=True)
        for _ in range(3):
            server.infer(MODEL, [given])
        wanted = [triton.InferRequestedOutput(name) for name in ("label", "dense_1")]
        server.infer(MODEL, [given], outputs=wanted)
        client.post("/v1/models/fashion_mnist:predict", json={"instances": [[0] * 784]})
        with pytest.raises(InferenceServerException):
            server.infer(MODEL, [tensor("pixels", test_slice[0][:5], "UINT8", binary=True)])
        for answer in (
            server.get_inference_statistics(MODEL),
            server.get_inference_statistics(MODEL, "1"),
            server.get_inference_statistics(),
        ):
            [counted] = answer["model_stats"]
            assert (counted["name"], counted["version"]) == (MODEL, "1")
            assert counted["inference_count"] == 21
            assert counted["execution_count"] == 5
            assert counted["last_inference"] > 1_600_000_000_000
            phases = counted["inference_stats"]
            assert phases["success"]["count"] == 5
            assert phases["fail"]["count"] == 1
            assert phases["fail"]["ns"] > 0
            parts = ("queue", "compute_input", "compute_infer", "compute_output")
            for part in parts:
                assert phases[part]["count"] == 5
                assert phases[part]["ns"] > 0
            assert sum(phases[part]["ns"] for part in parts) <= phases["success"]["ns"]
            one, five = counted["batch_stats"]
            assert (one["batch_size"], one["compute_infer"]["count"]) == (1, 1)
            assert (five["batch_size"], five["compute_infer"]["count"]) == (5, 4)
            for part in parts[1:]:
                assert one[part]["ns"] + five[part]["ns"] == phases[part]["ns"]


def test_repository_index_load_and_unload(
    engine_choice: EngineChoice, copied_artifacts: Path
) -> None:
    settings = Settings(artifacts=copied_artifacts, engine=engine_choice, poll_seconds=0)
    publish(copied_artifacts, 2, good=False)
    with (
        serve(settings) as client,
        triton.InferenceServerClient(client.base_url.netloc.decode()) as server,
    ):
        first, second, *others = server.get_model_repository_index()
        assert {entry["name"] for entry in others} == {f"{MODEL}_pictures", f"{MODEL}_layers"}
        assert first == {"name": MODEL, "version": "1", "state": "READY", "reason": ""}
        assert (second["version"], second["state"]) == ("2", "UNAVAILABLE")
        assert second["reason"].startswith("2/assets.extra/model.tflite is not the file")
        ready = client.post("/v2/repository/index", json={"ready": True}).json()
        assert ready == [
            {**first, "name": name} for name in client.get("/v2/models").json()["models"]
        ]

        server.unload_model(MODEL)
        assert not server.is_model_ready(MODEL)
        assert not server.is_server_ready()
        assert client.get("/readyz").status_code == 503
        assert {e["state"] for e in server.get_model_repository_index()} == {"UNAVAILABLE"}

        publish(copied_artifacts, 3)
        server.load_model(MODEL)
        assert server.is_model_ready(MODEL, "3")
        assert client.get("/readyz").json()["model"]["version"] == 3


def test_unsupported_and_invalid_repository_requests_are_a_400(strict_client: httpx.Client) -> None:
    load = f"/v2/repository/models/{MODEL}/load"
    response = strict_client.post(load, json={"parameters": {"config": "{}"}})
    assert (response.status_code, "config and files" in response.json()["error"]) == (400, True)
    for body in (b"{", b"[]"):
        assert strict_client.post(load, content=body).status_code == 400
    assert strict_client.post("/v2/repository/index", content=b"[" * 1000).status_code == 400


def test_loading_a_missing_model_is_a_400_without_its_path(
    copied_artifacts: Path,
) -> None:
    settings = Settings(artifacts=copied_artifacts, engine="litert", poll_seconds=0)
    with serve(settings) as client:
        client.post(f"/v2/repository/models/{MODEL}/unload")
        copied_artifacts.rename(copied_artifacts.with_name("away"))
        response = client.post(f"/v2/repository/models/{MODEL}/load")
        assert response.status_code == 400
        assert str(copied_artifacts) not in response.text


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_compressed_request_returns_the_same_probabilities(
    server: Any, test_slice: Slice, algorithm: str
) -> None:
    inputs = [tensor("images", test_slice[0][:6], "UINT8", binary=True)]
    answer = server.infer(MODEL, inputs, request_compression_algorithm=algorithm)
    np.testing.assert_array_equal(
        answer.as_numpy("probabilities"), server.infer(MODEL, inputs).as_numpy("probabilities")
    )
