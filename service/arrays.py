"""The arrays that pass between the modules, by what they hold."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Tensor = NDArray[np.float32]
"""What goes into and comes out of the network."""

Pixels = NDArray[Any]
"""One picture: (height, width) uint8 or float32 in [0, 255]."""
