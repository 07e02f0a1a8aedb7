"""The shapes clothes take on a photograph, made of the data set's own.

At home a garment is laid down or hung up: it lies aslant, its sleeves spread, its proportions are
those of the angle it is seen from; shoes stand in pairs and are seen from above. One analytic map
from places in the result to places in the picture describes all of it. It is evaluated twice:
coarsely, to find the box of what comes out, and then so that this box fills the frame, as the
service's preparation of photographs does.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from training.recipe import IMAGE_SIDE

Floats = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.uint8]

LONG_SLEEVES = (2, 4, 6)  # Pullover, Coat, Shirt
SHOES = (5, 7, 9)  # Sandal, Sneaker, Ankle boot
BAG = 8

_COARSE_SIDE, _COARSE_REACH = 40, 2.2
"""Cells, and half the width in half pictures, of the grid on which the result is looked for."""

_NOWHERE = 3.0
"""A place outside every picture."""


def warp(
    images: Floats, silhouettes: Floats, labels: Labels, generator: np.random.Generator
) -> tuple[Floats, Floats]:
    """Give pictures and their silhouettes the shapes of a photograph.

    Args:
        images: (n, 28, 28) float32 in [0, 1].
        silhouettes: (n, 28, 28) float32 in [0, 1], 1 where the garment is.
        labels: (n,) uint8 class ids.
        generator: where the shapes are drawn from.

    Returns:
        Both, warped the same way and filling the frame: (n, 28, 28) float32 in [0, 1].
    """
    shape = _Shape.draw(labels, _soles(images), generator)
    coarse: Floats = np.linspace(-_COARSE_REACH, _COARSE_REACH, _COARSE_SIDE, dtype=np.float32)
    sources = shape.sources(coarse[None, None], coarse[None, :, None])
    found: Flags = _sample(silhouettes, *sources) > np.float32(0.4)
    x, y, half = _frame(found, coarse, generator)
    reach = (IMAGE_SIDE - 1) / IMAGE_SIDE  # the middles of the outermost pixels
    places: Floats = np.linspace(-reach, reach, IMAGE_SIDE, dtype=np.float32)
    sources = shape.sources(x + half * places[None, None], y + half * places[None, :, None])
    return _sample(images, *sources), _sample(silhouettes, *sources)


@dataclass(frozen=True)
class _Shape:
    """The map of each picture of a batch; every parameter is (n, 1, 1)."""

    cosine: Floats
    sine: Floats
    width: Floats
    shear: Floats
    taper: Floats
    arch: Floats
    shoulder: Floats
    lift: Floats
    reach: Floats
    slant: Floats
    armpit: Floats
    torso: Floats
    wave: Floats
    wave_terms: Floats  # (2, 4, n, 1, 1): two frequencies and two phases each
    from_above: Flags
    sole: Floats
    narrowing: Floats
    pair: Flags
    mirrored: Flags
    gap: Floats
    mirror: Floats

    @classmethod
    def draw(cls, labels: Labels, soles: Floats, generator: np.random.Generator) -> "_Shape":
        count = len(labels)

        def uniform(low: float, high: float) -> Floats:
            return generator.uniform(low, high, (count, 1, 1)).astype(np.float32)

        def normal(scale: float) -> Floats:
            return (generator.standard_normal((count, 1, 1)) * scale).astype(np.float32)

        def some(share: float | Floats) -> Flags:
            chosen: Flags = generator.random((count, 1, 1)) < share
            return chosen

        sign = np.where(some(0.5), 1, -1).astype(np.float32)
        shoes = np.isin(labels, SHOES)[:, None, None]
        clothes = ~shoes & (labels != BAG)[:, None, None]
        pair = shoes & some(0.55)
        tilt = np.where(some(0.2), uniform(-30, 30), normal(5))
        tilt = np.deg2rad(np.where(shoes & some(0.6), uniform(-180, 180), tilt))
        tilt = np.where(pair & some(0.7), sign * np.pi / 2 + normal(0.25), tilt)
        from_above = shoes & some(np.where(pair, 0.5, 0.25).astype(np.float32))
        lifted = clothes & some(0.3)
        slanting = np.isin(labels, LONG_SLEEVES)[:, None, None] & some(0.5)
        return cls(
            cosine=np.cos(tilt, dtype=np.float32),
            sine=np.sin(tilt, dtype=np.float32),
            width=np.exp(normal(0.22)),
            shear=normal(0.08),
            taper=uniform(-0.2, 0.2) * some(0.6),
            arch=normal(0.05),
            shoulder=uniform(0.3, 0.6),
            lift=uniform(0, 0.9) * lifted,
            reach=np.where(lifted, uniform(0.4, 1), 1).astype(np.float32),
            slant=uniform(0.1, 0.65) * slanting,
            armpit=uniform(-0.6, -0.1),
            torso=uniform(0.38, 0.58),
            wave=uniform(0, 0.04) * some(0.7),
            wave_terms=np.stack(
                [[uniform(-4, 4), uniform(-4, 4), uniform(0, 6.28), uniform(0, 6.28)]] * 2
            ),
            from_above=from_above,
            sole=soles[:, None, None],
            narrowing=(np.maximum(2 * soles, 0.5)[:, None, None] / uniform(0.4, 0.7)).astype(
                np.float32
            ),
            pair=pair,
            mirrored=some(0.7),
            gap=uniform(0.3, 0.5),
            mirror=np.where(some(0.5), 1, -1).astype(np.float32),
        )

    def sources(self, u: Floats, v: Floats) -> tuple[Floats, Floats]:
        """Return where in the picture the place (u, v) of the result comes from.

        Args:
            u: (n or 1, 1, w) from left to right, the picture itself being [-1, 1].
            v: (n or 1, h, 1) from top to bottom.

        Returns:
            x and y: (n, h, w) float32.
        """
        side = np.where(self.mirrored, np.abs(u) - self.gap, u - self.gap * np.sign(u))
        u = np.where(self.pair, 1.6 * side, u)
        v = np.where(self.pair, 1.6 * v, v)
        x, y = self.cosine * u - self.sine * v, self.sine * u + self.cosine * v
        # A shoe from above: its side view, folded about the sole.
        y = np.where(self.from_above, self.sole - np.abs(y) * self.narrowing, y)
        for first, second, phase, other_phase in self.wave_terms:
            x = x + self.wave * np.sin(first * u + second * v + phase)
            y = y + self.wave * np.sin(second * u - first * v + other_phase)
        x = x * self.width / np.clip(1 + self.taper * y, 0.4, 2) + self.shear * y
        outside = np.maximum(np.abs(x) - self.shoulder, 0)
        y = y + self.lift * outside + self.arch * x * x
        x = np.where(outside > 0, np.sign(x) * (self.shoulder + outside * self.reach), x)
        # Sleeves laid slanting: beyond the torso everything moves out, the more the lower it is.
        gap = self.slant * np.maximum(y - self.armpit, 0)
        radius = np.abs(x)
        between = np.where(radius > self.torso, np.float32(_NOWHERE), x)
        x = np.where(radius > self.torso + gap, np.sign(x) * (radius - gap), between)
        return (x * self.mirror).astype(np.float32), y.astype(np.float32)


def _soles(images: Floats) -> Floats:
    """Return where the lowest light row of each picture lies in [-1, 1]: (n,)."""
    light = images.max(axis=2) > np.float32(0.1)
    lowest = IMAGE_SIDE - 1 - light[:, ::-1].argmax(axis=1)
    soles: Floats = (lowest * 2 / (IMAGE_SIDE - 1) - 1).astype(np.float32)
    return soles


def _frame(
    found: Flags, places: Floats, generator: np.random.Generator
) -> tuple[Floats, Floats, Floats]:
    """Return the middle and half the longest side of what was found, a little off at times.

    Args:
        found: (n, h, h) where the garment is on the coarse grid.
        places: (h,) coordinates of that grid.
        generator: where the inaccuracies are drawn from.

    Returns:
        x, y and half: (n, 1, 1).
    """
    count = len(found)
    left, right = _extent(found.max(axis=1), places)
    top, bottom = _extent(found.max(axis=2), places)
    half = np.maximum(right - left, bottom - top) / 2 + 0.35 * (places[1] - places[0])
    zoom = np.where(
        generator.random(count) < 0.2,
        generator.uniform(0.75, 1, count),
        generator.uniform(0.97, 1.04, count),
    )
    zoom = np.where(generator.random(count) < 0.08, generator.uniform(1.05, 1.5, count), zoom)
    half = half * zoom
    off = 0.12 * half * (generator.random(count) < 0.15)
    x = (left + right) / 2 + off * generator.standard_normal(count)
    y = (top + bottom) / 2 + off * generator.standard_normal(count)
    x, y, half = (a.astype(np.float32)[:, None, None] for a in (x, y, half))
    return x, y, half


def _extent(found: Flags, places: Floats) -> tuple[Floats, Floats]:
    """Return the first and the last place found in each row; the middle ones where none is."""
    empty = ~found.max(axis=1)
    middle = len(places) // 2
    first = np.where(empty, middle - 3, found.argmax(axis=1))
    last = np.where(empty, middle + 2, len(places) - 1 - found[:, ::-1].argmax(axis=1))
    return places[first], places[last]


def _sample(images: Floats, x: Floats, y: Floats) -> Floats:
    """Read pictures at places in [-1, 1], bilinearly, 0 outside: (n, h, w)."""
    x, y = np.broadcast_arrays(x, y)
    number = np.broadcast_to(np.arange(len(images), dtype=np.float32)[:, None, None], x.shape)
    row, column = ((place + 1) * IMAGE_SIDE / 2 - 0.5 for place in (y, x))
    sampled: Floats = ndimage.map_coordinates(
        images, np.stack([number, row, column]), order=1, mode="grid-constant", prefilter=False
    )
    return sampled
