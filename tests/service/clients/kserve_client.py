"""Calls that KServe's clients make to the service, run by test_kserve.py."""

import asyncio
import sys
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from kserve import InferInput, InferRequest, Model, ModelRepository
from kserve.context import set_predictor_config
from kserve.inference_client import InferenceGRPCClient, InferenceRESTClient, RESTConfig
from kserve.predictor_config import PredictorConfig
from kserve.protocol.dataplane import DataPlane
from kserve.protocol.infer_type import RequestedOutput
from numpy.typing import NDArray

MODEL = "fashion_mnist"

PIXELS = np.zeros((3, 28, 28), np.uint8)
PIXELS[1, :, 9:13] = PIXELS[1, :, 15:19] = 255  # a pair of trousers


def request_of(pixels: NDArray[Any], *, binary_in: bool, binary_out: bool) -> InferRequest:
    given = InferInput("images", list(pixels.shape), "UINT8")
    given.set_data_from_numpy(pixels, binary_data=binary_in)
    wanted = [
        RequestedOutput(name, parameters={"binary_data": binary_out})
        for name in ("probabilities", "class_id")
    ]
    return InferRequest(MODEL, [given], request_outputs=wanted, request_id="7")


def check(answer: Any) -> None:
    assert (answer.id, answer.model_name) == ("7", MODEL)
    probabilities, class_id = answer.outputs
    assert probabilities.as_numpy().shape == (3, 10)
    assert class_id.as_numpy()[1] == 1
    assert class_id.as_numpy()[0] == class_id.as_numpy()[2] != 1


async def call_v2(address: str) -> None:
    client = InferenceRESTClient(RESTConfig(protocol="v2"))
    assert await client.is_server_live(address)
    assert await client.is_server_ready(address)
    assert await client.is_model_ready(address, MODEL)
    for binary_in in (True, False):
        for binary_out in (True, False):
            request = request_of(PIXELS, binary_in=binary_in, binary_out=binary_out)
            check(await client.infer(address, request, model_name=MODEL))
    wrong = request_of(PIXELS[:, :27], binary_in=True, binary_out=True)
    with pytest.raises(httpx.HTTPStatusError, match=r"shape \[3, 27, 28\], expected .*400 Bad"):
        await client.infer(address, wrong, model_name=MODEL)
    await client.close()


async def call_grpc(address: str) -> None:
    client = InferenceGRPCClient(address)
    assert await client.is_server_live()
    assert await client.is_server_ready()
    assert await client.is_model_ready(MODEL)
    for binary_in in (True, False):
        check(await client.infer(request_of(PIXELS, binary_in=binary_in, binary_out=True)))
    with pytest.raises(grpc.RpcError) as caught:
        await client.infer(request_of(PIXELS[:, :27], binary_in=True, binary_out=True))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "shape [3, 27, 28], expected" in caught.value.details()
    await client.close()


async def call_v1(address: str) -> None:
    client = InferenceRESTClient(RESTConfig(protocol="v1"))
    assert await client.is_server_live(address)
    assert await client.is_model_ready(address, MODEL)
    answer = await client.infer(address, {"instances": [[0.0] * 784] * 2}, model_name=MODEL)
    assert np.shape(answer["predictions"]) == (2, 10)
    await client.close()


async def check_transformer_readiness(protocol: str, address: str) -> None:
    """Assert that a transformer is ready if this service is its predictor."""
    models, model = ModelRepository(), Model(MODEL)
    model.ready = True
    models.update(model)
    host = address.removeprefix("http://").rstrip("/")
    set_predictor_config(PredictorConfig(host, protocol, predictor_health_check=True))
    transformer = DataPlane(models)
    assert await transformer.ready()
    assert await transformer.model_ready(MODEL)


if __name__ == "__main__":
    kind, to = sys.argv[1:]
    if kind == "grpc":
        asyncio.run(call_grpc(to))
        asyncio.run(check_transformer_readiness("grpc-v2", to))
    else:
        asyncio.run(call_v2(to))
        asyncio.run(call_v1(to))
        for version in ("v1", "v2"):
            asyncio.run(check_transformer_readiness(version, to))
    print("all requests succeeded")
