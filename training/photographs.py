"""Photographs of clothes that people took at home, as the service prepares them.

assets/README.md says where they are from, and how the file is made again.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from .data import CLASS_NAMES, Images

PHOTOGRAPHS = Path(__file__).parent / "assets" / "photographs.npz"

CLASSES_OF_A_LABEL = {
    "T-Shirt": ("T-shirt/top",),
    "Undershirt": ("T-shirt/top",),
    "Top": ("T-shirt/top",),
    "Pants": ("Trouser",),
    "Longsleeve": ("Pullover",),
    "Hoodie": ("Pullover",),
    "Dress": ("Dress",),
    "Outwear": ("Coat",),
    "Blazer": ("Coat",),
    "Shirt": ("Shirt",),
    "Blouse": ("Shirt",),
    "Polo": ("T-shirt/top", "Shirt"),
    "Shoes": ("Sandal", "Sneaker", "Ankle boot"),
    "Hat": (),
    "Shorts": (),
    "Skirt": (),
    "Body": (),
}
"""The right classes for each label; none where Fashion-MNIST has no class for it."""

KINDS = ("T-Shirt", "Pants", "Longsleeve", "Dress", "Outwear", "Shirt", "Shoes")
"""The labels that the macro average is over."""


@dataclass(frozen=True)
class Photographs:
    """Prepared photographs: pixels (n, 28, 28) uint8, labels (n,)."""

    pixels: Images
    label: npt.NDArray[np.str_]
    """What a photograph shows, one of `CLASSES_OF_A_LABEL`."""

    @property
    def classes(self) -> npt.NDArray[np.float32]:
        """(n, 10): 1 for each right class, 0 for the others; a row of zeros where none is right."""
        rows = [np.isin(CLASS_NAMES, CLASSES_OF_A_LABEL[str(label)]) for label in self.label]
        return np.array(rows, np.float32)

    @property
    def has_class(self) -> npt.NDArray[np.bool_]:
        """(n,): whether Fashion-MNIST has a class for it."""
        return np.asarray(self.classes.any(axis=1))

    def chances(self, without_class: float) -> npt.NDArray[np.float64]:
        """Return the chance of each to be drawn, (n,).

        Each group, the photographs with the same right classes, is drawn as often as the others.
        The labels without a class together are drawn `without_class` times as often, each of them
        as often as the others.
        """
        groups = [" ".join(CLASSES_OF_A_LABEL[label]) or label for label in map(str, self.label)]
        _, group, count = np.unique(groups, return_inverse=True, return_counts=True)
        labels_without = np.unique(self.label[~self.has_class])
        weight = np.where(self.has_class, 1, without_class / max(1, len(labels_without)))
        chances = weight / count[group]
        return np.asarray(chances / chances.sum())


def read_photographs(split: Literal["train", "validation"]) -> Photographs:
    """Read the prepared photographs of one split; no sender is in both."""
    with np.load(PHOTOGRAPHS) as arrays:
        chosen = arrays["split"] == split
        return Photographs(arrays["pixels"][chosen], arrays["label"][chosen])
