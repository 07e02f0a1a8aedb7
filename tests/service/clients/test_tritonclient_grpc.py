"""The published `tritonclient[grpc]` against this service.

The service runs in a separate process: it and the client both register the protocol's messages,
which a process can do only once.
"""

import queue
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub
from tritonclient.utils import InferenceServerException

from service.settings import EngineChoice
from tests.conftest import ROOT
from tests.service.conftest import (
    ARTIFACTS,
    DEFAULT_VERSION,
    Encode,
    run_service,
    samples_of,
    serve_process,
    unused_port,
    wait_for,
    wait_until_ready,
)

Slice = tuple[NDArray[np.uint8], NDArray[np.uint8]]

MODEL = "fashion_mnist"
PICTURES = "fashion_mnist_pictures"
EVERY_OUTPUT = [
    triton.InferRequestedOutput(name) for name in ("probabilities", "class_id", "label")
]


@pytest.fixture(scope="module")
def address(engine_choice: EngineChoice) -> Iterator[str]:
    port, grpc_port = unused_port(), unused_port()
    arguments = (f"--grpc-port={grpc_port}", f"--engine={engine_choice}", "--max-images=20")
    with (
        serve_process(*arguments, port=port),
        httpx.Client(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        wait_until_ready(client)
        yield f"127.0.0.1:{grpc_port}"


@pytest.fixture(scope="module")
def server(address: str) -> Iterator[Any]:
    with triton.InferenceServerClient(address) as server:
        yield server


@pytest.fixture(scope="module")
def stub(address: str) -> Iterator[Any]:
    with grpc.insecure_channel(address) as channel:
        yield GRPCInferenceServiceStub(channel)


def tensor(name: str, values: NDArray[Any], datatype: str) -> Any:
    given = triton.InferInput(name, values.shape, datatype)
    given.set_data_from_numpy(values)
    return given


def test_calls_are_logged_and_counted_with_the_status_codes_of_http() -> None:
    port, grpc_port = unused_port(), unused_port()
    arguments = (f"--grpc-port={grpc_port}", "--engine=litert", "--log-format=json")
    with serve_process(*arguments, port=port) as process:
        with (
            httpx.Client(base_url=f"http://127.0.0.1:{port}") as client,
            triton.InferenceServerClient(f"127.0.0.1:{grpc_port}") as server,
        ):
            wait_until_ready(client)
            images = tensor("images", np.zeros((2, 784), np.uint8), "UINT8")
            headers = {"x-request-id": "mine", "traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}
            server.infer(MODEL, [images], headers=headers)
            with pytest.raises(InferenceServerException):
                server.infer("other", [images])
            samples = samples_of(client.get("/metrics").text)
        process.terminate()
        _, log = process.communicate(timeout=30)
    series = 'method="gRPC",route="/inference.GRPCInferenceService/ModelInfer"'
    assert samples[f'fashion_mnist_requests_total{{{series},status="200"}}'] == 1
    assert samples[f'fashion_mnist_requests_total{{{series},status="404"}}'] == 1
    assert samples['fashion_mnist_rejected_total{reason="unknown_model"}'] == 1
    assert samples["fashion_mnist_images_total"] == 2
    assert f'"request_id":"mine","trace_id":"{"a" * 32}"' in log


def test_health_and_metadata(server: Any) -> None:
    assert server.is_server_live()
    assert server.is_server_ready()
    assert server.is_model_ready(MODEL)
    assert server.is_model_ready(MODEL, DEFAULT_VERSION)
    assert not server.is_model_ready(MODEL, "7")
    assert not server.is_model_ready("other")
    assert list(server.get_server_metadata().extensions) == [
        *("classification", "model_configuration", "model_repository", "statistics")
    ]
    model = server.get_model_metadata(MODEL, DEFAULT_VERSION)
    assert (model.platform, list(model.versions)) == ("tensorflow_savedmodel", [DEFAULT_VERSION])
    assert [(o.name, list(o.shape)) for o in model.outputs] == [("probabilities", [-1, 10])]
    images = server.get_model_metadata(PICTURES)
    assert [(i.name, i.datatype, list(i.shape)) for i in images.inputs] == [
        ("image", "BYTES", [-1])
    ]


@pytest.mark.parametrize(
    "dtype", ["uint8", "int32", "int64", "uint16", "float16", "float32", "float64"]
)
def test_infer_with_raw_contents(server: Any, test_slice: Slice, dtype: str) -> None:
    images = test_slice[0][[0, 1, 2, 3, 5, 6]].astype(dtype)
    if images.dtype.kind == "f":
        images /= images.dtype.type(255)
    datatype = dtype.upper().replace("FLOAT", "FP")
    given = tensor("images", images, datatype)
    answer = server.infer(MODEL, [given], outputs=EVERY_OUTPUT, request_id="7")
    assert answer.get_response().id == "7"
    assert answer.get_response().model_version == DEFAULT_VERSION
    assert answer.as_numpy("class_id").tolist() == [9, 2, 1, 1, 1, 4]
    assert answer.as_numpy("probabilities").argmax(axis=1).tolist() == [9, 2, 1, 1, 1, 4]
    assert answer.as_numpy("label").tolist()[:2] == [b"Ankle boot", b"Pullover"]
    assert "warning" not in answer.get_response().parameters


def test_floats_above_1_cause_a_warning(server: Any, test_slice: Slice) -> None:
    images = test_slice[0][:2].astype(np.float32)
    answer = server.infer(MODEL, [tensor("images", images, "FP32")]).get_response()
    assert "divide by 255" in answer.parameters["warning"].string_param


def test_infer_returns_layers_and_classifications(server: Any, test_slice: Slice) -> None:
    wanted = [
        triton.InferRequestedOutput("conv2d_1"),
        triton.InferRequestedOutput("probabilities", class_count=2),
    ]
    given = tensor("images", test_slice[0][:3], "UINT8")
    answer = server.infer(MODEL, [given], outputs=wanted)
    assert answer.as_numpy("conv2d_1").shape == (3, 28, 28, 32)
    assert answer.as_numpy("probabilities").shape == (3, 2)
    assert answer.as_numpy("probabilities")[0, 0].endswith(b":9:Ankle boot")


def test_encoded_images_are_prepared_as_requested(
    server: Any, test_slice: Slice, encode: Encode
) -> None:
    files = np.array([encode(test_slice[0][i]) for i in (1, 0)], np.object_)
    given = tensor("image", files, "BYTES")
    answer = server.infer(PICTURES, [given], parameters={"prepare": "plain"})
    assert answer.as_numpy("label").tolist() == [b"Pullover", b"Ankle boot"]
    with pytest.raises(InferenceServerException, match="prepare: 'magic'"):
        server.infer(MODEL, [given], parameters={"prepare": "magic"})
    with pytest.raises(
        InferenceServerException, match=r"parameters\.prepare: Input should be a valid string"
    ):
        server.infer(MODEL, [given], parameters={"prepare": 7})


@pytest.mark.parametrize(
    ("datatype", "field", "scale"),
    [
        ("UINT16", "uint_contents", 1),
        ("UINT8", "uint_contents", 1),
        ("INT32", "int_contents", 1),
        ("INT64", "int64_contents", 1),
        ("FP32", "fp32_contents", 255),
        ("FP64", "fp64_contents", 255),
    ],
)
def test_infer_with_typed_contents(
    stub: Any, test_slice: Slice, datatype: str, field: str, scale: int
) -> None:
    pixels: list[int] = test_slice[0][:2].reshape(-1).tolist()
    values = pixels if scale == 1 else [pixel / scale for pixel in pixels]
    request = request_of("images", datatype, [2, 784], **{field: values})
    request.outputs.add(name="class_id")
    request.outputs.add(name="label")
    class_id, label = stub.ModelInfer(request).outputs
    assert list(class_id.contents.int64_contents) == [9, 2]
    assert list(label.contents.bytes_contents) == [b"Ankle boot", b"Pullover"]


def test_infer_with_images_in_typed_contents(stub: Any, boot_png: bytes) -> None:
    request = request_of("image", "BYTES", [1], bytes_contents=[boot_png])
    request.model_name = PICTURES
    response = stub.ModelInfer(request)
    assert [output.name for output in response.outputs] == [
        *("probabilities", "class_id", "label", "novelty", "in_distribution")
    ]
    assert list(response.outputs[2].contents.bytes_contents) == [b"Ankle boot"]
    assert len(response.outputs[0].contents.fp32_contents) == 10
    assert response.id


def request_of(name: str, datatype: str, shape: list[int], **contents: Any) -> Any:
    return pb.ModelInferRequest(
        model_name=MODEL,
        inputs=[
            pb.ModelInferRequest.InferInputTensor(
                name=name,
                datatype=datatype,
                shape=shape,
                contents=pb.InferTensorContents(**contents),
            )
        ],
    )


def with_raw(request: Any, *raw: bytes) -> Any:
    request.raw_input_contents.extend(raw)
    return request


def test_configuration_statistics_and_repository(server: Any) -> None:
    config = server.get_model_config(MODEL).config
    assert (config.name, config.platform) == (MODEL, "tensorflow_savedmodel")
    [given] = config.input
    assert (given.name, list(given.dims), given.format) == ("images", [28, 28, 1], 1)
    assert config.max_batch_size == 20
    [image] = server.get_model_config(PICTURES, DEFAULT_VERSION).config.input
    assert (image.name, image.data_type, list(image.dims)) == ("image", 13, [])

    before = server.get_inference_statistics(MODEL).model_stats[0]
    server.infer(MODEL, [tensor("images", np.zeros((3, 784), np.uint8), "UINT8")])
    [after] = server.get_inference_statistics(MODEL, DEFAULT_VERSION).model_stats
    assert after.inference_count - before.inference_count == 3
    assert after.execution_count - before.execution_count == 1
    assert after.execution_count == sum(row.compute_infer.count for row in after.batch_stats)
    assert after.inference_count == sum(
        row.batch_size * row.compute_infer.count for row in after.batch_stats
    )

    index = server.get_model_repository_index().models
    assert (MODEL, DEFAULT_VERSION, "READY") in [(m.name, m.version, m.state) for m in index]
    server.unload_model(MODEL)
    assert not server.is_model_ready(MODEL)
    assert not server.is_server_ready()
    with pytest.raises(InferenceServerException, match="failed to load 'other'"):
        server.load_model("other")
    with pytest.raises(InferenceServerException, match=r"failed to load .* config and files"):
        server.load_model(MODEL, config='{"max_batch_size": 16}')
    server.load_model(MODEL)
    assert server.is_model_ready(PICTURES)


def test_stream_responds_in_order_and_continues_after_an_error(
    server: Any, test_slice: Slice
) -> None:
    answers: queue.Queue[Any] = queue.Queue()
    server.start_stream(lambda result, error: answers.put(error or result))
    wanted = [triton.InferRequestedOutput("class_id")]
    for index in range(4):
        given = tensor("images", test_slice[0][index : index + 1], "UINT8")
        name = "other" if index == 1 else MODEL
        server.async_stream_infer(name, [given], outputs=wanted, request_id=str(index))
    received = [answers.get(timeout=10) for _ in range(4)]
    server.stop_stream()
    assert "no model 'other'" in str(received.pop(1))
    assert [answer.get_response().id for answer in received] == ["0", "2", "3"]
    assert [answer.as_numpy("class_id").tolist() for answer in received] == [[9], [1], [1]]


def test_standard_health_check(address: str) -> None:
    with grpc.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for service in ("", "inference.GRPCInferenceService"):
            answer = stub.Check(health_pb2.HealthCheckRequest(service=service))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError) as caught:
            stub.Check(health_pb2.HealthCheckRequest(service="other"))
    assert caught.value.code() is NOT_FOUND


def test_health_watch_receives_every_change(address: str, server: Any) -> None:
    kind = health_pb2.HealthCheckResponse
    with grpc.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        watches = [
            stub.Watch(health_pb2.HealthCheckRequest(service=service), timeout=30)
            for service in ("inference.GRPCInferenceService", "other")
        ]
        assert [next(watch).status for watch in watches] == [kind.SERVING, kind.SERVICE_UNKNOWN]
        server.unload_model(MODEL)
        assert next(watches[0]).status == kind.NOT_SERVING
        server.load_model(MODEL)
        assert next(watches[0]).status == kind.SERVING


def test_reflection_lists_the_services_and_describes_their_methods(address: str) -> None:
    with grpc.insecure_channel(address) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        services = list(database.get_services())
        assert services == [
            *("grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"),
            "inference.GRPCInferenceService",
        ]
        file = database.FindFileContainingSymbol("inference.GRPCInferenceService")
    [service] = file.service
    assert {"ModelInfer", "ModelStreamInfer"} <= {method.name for method in service.method}


INVALID, NOT_FOUND = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize(
    ("request_", "code", "reason"),
    [
        (request_of("pixels", "UINT8", [0]), INVALID, "no input 'pixels'"),
        (request_of("images", "FLOAT", [1, 784]), INVALID, "datatype 'FLOAT' is not one of"),
        (
            request_of("images", "FP16", [1, 784]),
            INVALID,
            "FP16 has only a binary form",
        ),
        (
            request_of("images", "UINT8", [1, 784]),
            INVALID,
            "data of shape [0], the tensor has shape [1, 784]",
        ),
        (request_of("images", "UINT8", [-1, 784]), INVALID, "negative dimension"),
        (request_of("images", "UINT8", [0, 784]), INVALID, "holds no image"),
        (
            request_of("images", "UINT8", [1, 1], uint_contents=[300]),
            INVALID,
            "a number in data is out of the range of UINT8",
        ),
        (
            request_of("images", "INT32", [1, 784], int_contents=[300] * 784),
            INVALID,
            "images: 300 is outside 0…255",
        ),
        (with_raw(request_of("images", "UINT8", [1, 784]), b"\0"), INVALID, "1 bytes, UINT8 of"),
        (with_raw(request_of("images", "UINT8", [1, 784]), b"", b""), INVALID, "1 inputs, 2 raw"),
        (
            with_raw(request_of("images", "UINT8", [21, 784]), b"\0" * 21 * 784),
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "21 images, the limit is 20",
        ),
        (
            with_raw(request_of("images", "UINT8", [1, 1], uint_contents=[0]), b"\0"),
            INVALID,
            "give raw_input_contents or contents, not both",
        ),
        (
            request_of("images", "UINT8", [2**63 - 1] * 100_000),
            INVALID,
            "inputs.0.shape: List should have at most 1024 items",
        ),
        (
            request_of("x" * 100_000, "UINT8", [1], uint_contents=[0]),
            INVALID,
            "xxx'; the inputs are images and image",
        ),
        (pb.ModelInferRequest(model_name=MODEL), INVALID, "0 inputs, expected one"),
        (pb.ModelInferRequest(model_name="other"), NOT_FOUND, "no model 'other'"),
        (
            pb.ModelInferRequest(model_name=MODEL, model_version="7"),
            NOT_FOUND,
            "version 7 is not served",
        ),
        (
            pb.ModelInferRequest(model_name=MODEL, model_version="x"),
            NOT_FOUND,
            "is not a number",
        ),
    ],
)
def test_invalid_request_returns_a_status_code_and_reason(
    stub: Any, request_: Any, code: grpc.StatusCode, reason: str
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        stub.ModelInfer(request_)
    assert caught.value.code() is code
    assert reason in caught.value.details()


def test_malformed_message_is_an_invalid_argument(address: str) -> None:
    with grpc.insecure_channel(address) as channel:
        infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        with pytest.raises(grpc.RpcError) as caught:
            infer(b"\xff\xff\xff\xff")
    assert caught.value.code() is INVALID
    assert caught.value.details() == "not a message of the type ModelInferRequest"


def test_two_workers_serve_one_port(free_port: int, test_slice: Slice) -> None:
    grpc_port = unused_port()
    with serve_process("--workers=2", f"--grpc-port={grpc_port}", port=free_port):
        options = [("grpc.use_local_subchannel_pool", 1)]

        def ready() -> bool:
            # A connection stays with its worker, so each check opens another.
            for _ in range(10):
                try:
                    with triton.InferenceServerClient(
                        f"127.0.0.1:{grpc_port}", channel_args=options
                    ) as server:
                        if not server.is_server_ready():
                            return False
                except InferenceServerException:
                    return False
            return True

        wait_for(ready)
        with triton.InferenceServerClient(f"127.0.0.1:{grpc_port}") as server:
            given = tensor("images", test_slice[0][:1], "UINT8")
            answer = server.infer(MODEL, [given], outputs=EVERY_OUTPUT)
        assert answer.as_numpy("class_id").tolist() == [9]


def test_port_in_use_is_reported_without_a_traceback(free_port: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = run_service(f"--port={free_port}", f"--grpc-port={port}")
    assert ended.returncode == 3
    assert f"cannot serve: gRPC cannot listen on 127.0.0.1:{port}" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_missing_grpc_package_is_reported_with_the_extra_to_install() -> None:
    code = (
        "import asyncio, importlib.util; from service.app import create_app;"
        "from service.settings import Settings; find = importlib.util.find_spec;"
        "importlib.util.find_spec = lambda n, *a: None if n == 'grpc' else find(n, *a)\n"
        f"app = create_app(Settings(artifacts='{ARTIFACTS}', grpc_port=1))\n"
        "async def start():\n"
        "    async with app.router.lifespan_context(app): pass\n"
        "asyncio.run(start())"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 3
    assert "it comes with the extra `grpc`" in ended.stderr
