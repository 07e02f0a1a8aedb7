"""The arrays that pass between the modules."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Tensor = NDArray[np.float32]
Pixels = NDArray[Any]
"""One image: (height, width) uint8 or float32 in [0, 255]."""
WHITE = 255


class Assessment(NamedTuple):
    """What the network says of n images."""

    probabilities: Tensor
    """(n, classes)."""
    novelty: Tensor | None
    """(n,), the higher the stranger; None if the model has no such score."""


class Weights(NamedTuple):
    """What a layer learned, as Keras has it."""

    kernel: Tensor
    """(height, width, inputs, outputs) of a convolution, (inputs, outputs) of a dense layer."""
    bias: Tensor
    """(outputs,)."""
