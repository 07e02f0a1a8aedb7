"""LitServe, as its documentation introduces it."""

import sys
from typing import Any

import litserve
from network import Network


class FashionMnist(litserve.LitAPI):
    """One network, called from LitServe's worker process."""

    def setup(self, device: str) -> None:
        """Load the network."""
        del device
        self.network = Network()

    def decode_request(self, request: dict[str, Any]) -> dict[str, Any]:
        """Take the parsed JSON as it is."""
        return request

    def predict(self, x: dict[str, Any]) -> dict[str, Any]:
        """Decode and infer."""
        return self.network.respond(x)

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        """Return the content of the JSON response."""
        return output


if __name__ == "__main__":
    server = litserve.LitServer(FashionMnist(), accelerator="cpu")
    server.run(
        port=int(sys.argv[1]),
        host="127.0.0.1",
        num_api_servers=1,
        log_level="warning",
        generate_client_file=False,
    )
