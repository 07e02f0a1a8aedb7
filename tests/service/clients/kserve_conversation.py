"""What test_kserve.py has KServe's client ask the service at an address."""

import asyncio
import sys

import numpy as np
from kserve import InferInput, InferRequest
from kserve.inference_client import InferenceRESTClient, RESTConfig
from kserve.protocol.infer_type import RequestedOutput

MODEL = "fashion_mnist"


async def ask_v2(address: str) -> None:
    client = InferenceRESTClient(RESTConfig(protocol="v2"))
    assert await client.is_server_live(address)
    assert await client.is_server_ready(address)
    assert await client.is_model_ready(address, MODEL)
    pixels = np.zeros((3, 28, 28), np.uint8)
    pixels[1, :, 9:13] = pixels[1, :, 15:19] = 255  # a pair of trousers
    for binary_in in (True, False):
        for binary_out in (True, False):
            given = InferInput("images", list(pixels.shape), "UINT8")
            given.set_data_from_numpy(pixels, binary_data=binary_in)
            wanted = [
                RequestedOutput(name, parameters={"binary_data": binary_out})
                for name in ("probabilities", "class_id")
            ]
            request = InferRequest(MODEL, [given], request_outputs=wanted, request_id="7")
            answer = await client.infer(address, request, model_name=MODEL)
            assert (answer.id, answer.model_name) == ("7", MODEL)
            probabilities, class_id = answer.outputs
            assert probabilities.as_numpy().shape == (3, 10)
            assert class_id.as_numpy()[1] == 1
            assert class_id.as_numpy()[0] == class_id.as_numpy()[2] != 1
    await client.close()


async def ask_v1(address: str) -> None:
    client = InferenceRESTClient(RESTConfig(protocol="v1"))
    answer = await client.infer(address, {"instances": [[0.0] * 784] * 2}, model_name=MODEL)
    assert np.shape(answer["predictions"]) == (2, 10)
    await client.close()


if __name__ == "__main__":
    asyncio.run(ask_v2(sys.argv[1]))
    asyncio.run(ask_v1(sys.argv[1]))
    print("all was answered")
