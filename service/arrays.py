"""The arrays that pass between the modules, by what they hold."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Tensor = NDArray[np.float32]
"""What goes into and comes out of the network."""


class Assessment(NamedTuple):
    """What the network says of n images."""

    probabilities: Tensor
    """(n, classes) float32."""
    novelty: Tensor | None
    """(n,) float32, any number, the higher the stranger; None if the model has no such score."""


class Weights(NamedTuple):
    """What a layer learned."""

    kernel: Tensor
    """(height, width, inputs, outputs) float32 of a convolution, (inputs, outputs) of a dense
    layer, as Keras has it."""
    bias: Tensor
    """(outputs,) float32."""


Pixels = NDArray[Any]
"""One picture: (height, width) uint8 or float32 in [0, 255]."""
