"""BentoML, as its documentation introduces it."""

from typing import Any

import bentoml
from network import Network


@bentoml.service(workers=1, traffic={"timeout": 10}, logging={"access": {"enabled": False}})
class FashionMnist:
    """One network, called from BentoML's worker process."""

    def __init__(self) -> None:
        self.network = Network()

    @bentoml.api(route="/predict")
    def predict(self, document: dict[str, Any]) -> dict[str, Any]:
        """Decode and infer."""
        return self.network.respond(document)
