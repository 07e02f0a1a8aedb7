"""Ray Serve with a FastAPI ingress, as its documentation introduces it."""

import base64
import sys
import time
from typing import Any

import ray
from fastapi import FastAPI, Request
from network import Network
from ray import serve

app = FastAPI()


@serve.deployment(num_replicas=1, max_ongoing_requests=64)
@serve.ingress(app)
class FashionMnist:
    """One network, called in one replica."""

    def __init__(self) -> None:
        self.network = Network()

    @app.post("/predict")
    async def predict(self, request: Request) -> dict[str, Any]:
        """Decode and infer."""
        if request.headers["content-type"] == "application/json":
            return self.network.respond(await request.json())
        return self.network.respond({"png": base64.b64encode(await request.body())})


if __name__ == "__main__":
    ray.init(include_dashboard=False, num_cpus=2, log_to_driver=False)
    serve.start(
        http_options={"host": "127.0.0.1", "port": int(sys.argv[1])},
        logging_config={"log_level": "WARNING", "enable_access_log": False},
    )
    serve.run(FashionMnist.bind())
    while True:
        time.sleep(1)
