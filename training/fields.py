"""Smooth random patterns the size of an image: shading, creases, stripes, noise.

They are dear to draw, so a few thousand of each kind are drawn once and picked from.
"""

from functools import cache

import numpy as np
import numpy.typing as npt

from training.recipe import IMAGE_SIDE

Fields = npt.NDArray[np.float32]

BANK_SIZE = 4096
"""Patterns of each kind: more than one in ten thousand pictures would ever tell apart."""


class FieldBank:
    """Patterns of every kind, (m, 28, 28) float32 in about [-1, 1], decided by the seed."""

    def __init__(self, seed: int) -> None:
        generator = np.random.default_rng((seed, BANK_SIZE))
        self._shades = _waves(generator, 3, 1, 5).mean(axis=0)
        self._edges = _waves(generator, 3, 3, 12).mean(axis=0)
        self._creases = _waves(generator, 3, 6, 20).prod(axis=0)
        weave = np.tanh(3 * _waves(generator, 2, 12, 40))
        checked = (generator.random(BANK_SIZE) < 0.5)[:, None, None]
        self._stripes = np.where(checked, weave.mean(axis=0), weave[0])
        self._noise = generator.standard_normal(self._shades.shape, np.float32)

    def shades(self, generator: np.random.Generator, count: int) -> Fields:
        """Pick slow changes, as light from one side makes them."""
        return _pick(self._shades, generator, count)

    def edges(self, generator: np.random.Generator, count: int) -> Fields:
        """Pick changes of a few pixels, by which an outline may be off."""
        return _pick(self._edges, generator, count)

    def creases(self, generator: np.random.Generator, count: int) -> Fields:
        """Pick folds."""
        return _pick(self._creases, generator, count)

    def stripes(self, generator: np.random.Generator, count: int) -> Fields:
        """Pick stripes and checks."""
        return _pick(self._stripes, generator, count)

    def noise(self, generator: np.random.Generator, count: int) -> Fields:
        """Pick noise, independent from pixel to pixel, of standard deviation 1."""
        return _pick(self._noise, generator, count)


@cache
def field_bank(seed: int) -> FieldBank:
    """Return the patterns of a seed, drawn once a process."""
    return FieldBank(seed)


def _pick(bank: Fields, generator: np.random.Generator, count: int) -> Fields:
    return bank[generator.integers(len(bank), size=count)]


def _waves(generator: np.random.Generator, layers: int, slowest: float, fastest: float) -> Fields:
    """Draw plane waves of any direction: (layers, m, 28, 28), radians a half picture."""
    places = np.linspace(-1, 1, IMAGE_SIDE, dtype=np.float32)
    shape = (layers, BANK_SIZE, 1, 1)
    angle = generator.uniform(0, 2 * np.pi, shape).astype(np.float32)
    frequency = generator.uniform(slowest, fastest, shape).astype(np.float32)
    phase = generator.uniform(0, 2 * np.pi, shape).astype(np.float32)
    along = np.cos(angle) * places + np.sin(angle) * places[:, None]
    waves: Fields = np.sin(frequency * along + phase)
    return waves
