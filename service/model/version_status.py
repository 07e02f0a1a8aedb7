"""How far each version of the model got."""

from dataclasses import dataclass
from typing import Literal

State = Literal["START", "LOADING", "AVAILABLE", "UNLOADING", "END"]
"""The life of a version, in TensorFlow Serving's words."""


@dataclass(slots=True)
class VersionStatus:
    """How far a version got.

    Attributes:
        number: The version.
        state: Where in its life it is.
        error: Why it is not served, or why what is now on the disk is not; empty if all is well.
    """

    number: int
    state: State = "START"
    error: str = ""
