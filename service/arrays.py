"""Array types that the modules share."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Tensor = NDArray[np.float32]
Pixels = NDArray[Any]
"""One image: (height, width) uint8 or float32 in [0, 255]."""
Flags = NDArray[np.bool_] | bool  # (n,), or one for all.
WHITE = 255


class Assessment(NamedTuple):
    """The network's outputs for n images."""

    probabilities: Tensor  # (n, classes).
    novelty: Tensor | None  # (n,), higher for stranger images; None if the model has no score.


class Weights(NamedTuple):
    """A layer's parameters in Keras' layout."""

    kernel: Tensor  # (height, width, inputs, outputs) if convolutional, else (inputs, outputs).
    bias: Tensor  # (outputs,).
