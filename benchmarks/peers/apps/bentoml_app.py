"""BentoML, as its documentation begins."""

from typing import Any

import bentoml
from network import Network


@bentoml.service(workers=1, traffic={"timeout": 10}, logging={"access": {"enabled": False}})
class FashionMnist:
    """One network, asked from BentoML's worker process."""

    def __init__(self) -> None:
        self.network = Network()

    @bentoml.api(route="/predict")
    def predict(self, document: dict[str, Any]) -> dict[str, Any]:
        """Decode and infer."""
        return self.network.answer(document)
