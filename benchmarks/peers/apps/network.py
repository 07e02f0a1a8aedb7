"""Decoding and inference as each peer's handler calls them: the same network, the same engine."""

import base64
import io
import os
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert.interpreter import Interpreter
from PIL import Image


class Network:
    """The flatbuffer that the service uses, in an interpreter with one thread."""

    def __init__(self) -> None:
        self._interpreter = Interpreter(os.environ["FLATBUFFER"], num_threads=1)
        self._runner = self._interpreter.get_signature_runner("serving_default")

    def classify(self, pixels: npt.ArrayLike) -> list[list[float]]:
        """Return the probabilities of images given as numbers in 0…255, 784 an image."""
        images = np.array(pixels, np.float32).reshape(-1, 28, 28, 1) / np.float32(255)
        rows: list[list[float]] = self._runner(images=images)["probabilities"].tolist()
        return rows

    def classify_png(self, text: str | bytes) -> list[list[float]]:
        """Return the probabilities of one image file in base64."""
        return self.classify(np.asarray(Image.open(io.BytesIO(base64.b64decode(text)))))

    def respond(self, document: Any) -> dict[str, Any]:
        """Answer `{"png": base64}` or `{"instances": numbers}`."""
        rows = (
            self.classify_png(document["png"])
            if "png" in document
            else self.classify(document["instances"])
        )
        return {"predictions": rows}
