"""MLServer with a custom runtime, the V2 protocol in JSON."""

import asyncio
import sys

from mlserver import MLModel, MLServer, ModelSettings, Settings
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput
from network import Network


class FashionMnist(MLModel):
    """One network, called in the server's process."""

    async def load(self) -> bool:
        """Load the network."""
        self.network = Network()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Decode and infer."""
        (given,) = payload.inputs
        content = given.data.root
        if given.datatype == "BYTES":
            rows = self.network.classify_png(content[0])
        else:
            rows = self.network.classify(content)
        numbers = [number for row in rows for number in row]
        output = ResponseOutput(
            name="probabilities", shape=[len(rows), 10], datatype="FP32", data=numbers
        )
        return InferenceResponse(model_name=self.name, outputs=[output])


async def _serve(port: int) -> None:
    settings = Settings(
        host="127.0.0.1",
        http_port=port,
        grpc_port=port + 1,
        metrics_endpoint=None,
        parallel_workers=0,
        debug=False,
        logging_settings={"version": 1, "root": {"level": "WARNING"}},
    )
    server = MLServer(settings)
    await server.start([ModelSettings(name="fashion_mnist", implementation=FashionMnist)])


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
