"""Triton Inference Server through PyTriton, the V2 protocol."""

import os
import sys
import sysconfig

import numpy as np
import numpy.typing as npt
from network import Network
from pytriton.model_config import ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

network = Network()


def infer(images: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[np.float32]]:
    """Return the probabilities of a batch, (n, 784) uint8."""
    return {"probabilities": np.array(network.classify(images), np.float32)}


if __name__ == "__main__":
    from pytriton.decorators import batch

    # Triton's own Python library may be older than the standard library it finds here.
    os.environ["LD_LIBRARY_PATH"] = str(sysconfig.get_config_var("LIBDIR"))
    port = int(sys.argv[1])
    config = TritonConfig(
        http_address="127.0.0.1", http_port=port, grpc_port=port + 1, metrics_port=port + 2
    )
    with Triton(config=config) as triton:
        triton.bind(
            model_name="fashion_mnist",
            infer_func=batch(infer),
            inputs=[Tensor(name="images", dtype=np.uint8, shape=(784,))],
            outputs=[Tensor(name="probabilities", dtype=np.float32, shape=(10,))],
            config=ModelConfig(max_batch_size=64),
        )
        triton.serve()
