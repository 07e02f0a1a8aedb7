"""TensorFlow Serving's PredictionService over gRPC.

Its own clients use messages of the package `tensorflow-serving-api`, which needs TensorFlow; those
of the service, used here, have the same fields.
"""

from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
from numpy.typing import NDArray

from service.protocols.grpc import tf_serving_pb2 as pb
from tests.service.conftest import DEFAULT_VERSION, serve_process, unused_port, wait_until_ready

Slice = tuple[NDArray[np.uint8], NDArray[np.uint8]]
PATH = "/tensorflow.serving.PredictionService"


@pytest.fixture(scope="module")
def channel() -> Iterator[grpc.Channel]:
    port, grpc_port = unused_port(), unused_port()
    with (
        serve_process(f"--grpc-port={grpc_port}", "--engine=litert", port=port),
        httpx.Client(base_url=f"http://127.0.0.1:{port}") as client,
        grpc.insecure_channel(f"127.0.0.1:{grpc_port}") as channel,
    ):
        wait_until_ready(client)
        yield channel


def call(channel: grpc.Channel, method: str, request: Any, answer: Any) -> Any:
    return channel.unary_unary(
        f"{PATH}/{method}", lambda message: message.SerializeToString(), answer.FromString
    )(request, timeout=10)


def predict(channel: grpc.Channel, tensor: Any, **spec: Any) -> Any:
    request = pb.PredictRequest(
        model_spec=pb.ModelSpec(name="fashion_mnist", **spec), inputs={"images": tensor}
    )
    return call(channel, "Predict", request, pb.PredictResponse)


def shaped(shape: tuple[int, ...], dtype: int, **values: Any) -> Any:
    dims = {"dim": [{"size": size} for size in shape]}
    return pb.TensorProto(dtype=dtype, tensor_shape=dims, **values)


def array(tensor: Any) -> NDArray[np.float32]:
    shape = [dim.size for dim in tensor.tensor_shape.dim]
    return np.frombuffer(tensor.tensor_content, "<f4").reshape(shape)


@pytest.mark.parametrize("is_typed", [False, True], ids=["content", "values"])
@pytest.mark.parametrize("dtype", ["DT_FLOAT", "DT_DOUBLE", "DT_UINT8", "DT_INT64"])
def test_predict_accepts_numbers(
    channel: grpc.Channel, test_slice: Slice, dtype: str, is_typed: bool
) -> None:
    kinds: EnumTypeWrapper = pb.DataType
    numpy_type, field, scale = {
        "DT_FLOAT": ("<f4", "float_val", 255),
        "DT_DOUBLE": ("<f8", "double_val", 255),
        "DT_UINT8": ("u1", "int_val", 1),
        "DT_INT64": ("<i8", "int64_val", 1),
    }[dtype]
    images = (test_slice[0][:4] / scale).astype(numpy_type)
    values = images.reshape(-1).tolist()
    sent = {field: values} if is_typed else {"tensor_content": images.tobytes()}
    answer = predict(channel, shaped((4, 28, 28, 1), kinds.Value(dtype), **sent))
    assert answer.model_spec.version.value == int(DEFAULT_VERSION)
    assert list(answer.outputs) == ["probabilities"]
    assert array(answer.outputs["probabilities"]).argmax(axis=1).tolist() == [9, 2, 1, 1]


def test_predict_supports_images_versions_signatures_and_output_filters(
    channel: grpc.Channel, boot_png: bytes
) -> None:
    image = shaped((1,), pb.DT_STRING, string_val=[boot_png])
    for spec in ({"version": {"value": int(DEFAULT_VERSION)}}, {"version_label": DEFAULT_VERSION}):
        answer = predict(channel, image, **spec)
        assert array(answer.outputs["probabilities"]).argmax() == 9
    answer = predict(channel, image, signature_name="novelty")
    assert set(answer.outputs) == {"novelty", "probabilities"}
    request = pb.PredictRequest(
        model_spec=pb.ModelSpec(name="fashion_mnist", signature_name="feature_maps"),
        inputs={"images": image},
        output_filter=["dense_1"],
    )
    answer = call(channel, "Predict", request, pb.PredictResponse)
    assert [(name, array(tensor).shape) for name, tensor in answer.outputs.items()] == [
        ("dense_1", (1, 100))
    ]


def test_model_metadata_lists_the_signatures(channel: grpc.Channel) -> None:
    request = pb.GetModelMetadataRequest(
        model_spec=pb.ModelSpec(name="fashion_mnist"), metadata_field=["signature_def"]
    )
    answer = call(channel, "GetModelMetadata", request, pb.GetModelMetadataResponse)
    packed = answer.metadata["signature_def"]
    assert packed.type_url.endswith("/tensorflow.serving.SignatureDefMap")
    signatures = pb.SignatureDefMap.FromString(packed.value).signature_def
    assert set(signatures) == {"serving_default", "novelty", "feature_maps"}
    images = signatures["serving_default"].inputs["images"]
    assert images.dtype == pb.DT_FLOAT
    assert [dim.size for dim in images.tensor_shape.dim] == [-1, 28, 28, 1]


@pytest.mark.parametrize(
    ("tensor", "spec", "code", "reason"),
    [
        (shaped((1, 784), pb.DT_BOOL), {}, "INVALID_ARGUMENT", "expected one of DT_FLOAT"),
        (shaped((1, 784), pb.DT_UINT8, int_val=[0]), {}, "INVALID_ARGUMENT", "data of shape [1]"),
        (shaped((1, 1), pb.DT_UINT8, int_val=[-1]), {}, "INVALID_ARGUMENT", "range of UINT8"),
        (shaped((1, 784), pb.DT_FLOAT, tensor_content=b"0"), {}, "INVALID_ARGUMENT", "1 bytes"),
        (shaped((1,) * 70, pb.DT_FLOAT), {}, "INVALID_ARGUMENT", "70 dimensions"),
        (shaped((1,), pb.DT_FLOAT), {"version": {"value": 77}}, "NOT_FOUND", "Specific("),
        (shaped((1,), pb.DT_FLOAT), {"version_label": "x"}, "NOT_FOUND", "labelled 'x'"),
        (shaped((1,), pb.DT_FLOAT), {"signature_name": "x"}, "INVALID_ARGUMENT", "signature name"),
        (
            shaped((8, 784), pb.DT_FLOAT, tensor_content=bytes(8 * 784 * 4)),
            {"signature_name": "feature_maps"},
            *("RESOURCE_EXHAUSTED", "the layers of 8 images"),
        ),
    ],
    ids=[
        "dtype",
        "values",
        "range",
        "content",
        "dimensions",
        "version",
        "label",
        "signature",
        "layers",
    ],
)
def test_invalid_request_returns_a_status_code_and_reason(
    channel: grpc.Channel, tensor: Any, spec: dict[str, Any], code: str, reason: str
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        predict(channel, tensor, **spec)
    assert (caught.value.code().name, reason in caught.value.details()) == (code, True)
