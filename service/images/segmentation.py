"""Finds the garment on a photograph.

The data set shows one garment on nothing; a photograph taken at home has a ground: wood, a sheet, a
rug, a red blanket. What is known of any such picture is used here, and nothing of what is on it:

1. its colours, in Lab, are quantised to a small palette (close ones share their counts);
2. the frame's edge shows the ground, the middle a mixture of ground and garment. How much of the
   mixture is ground follows from the colours the edge is mostly made of; the rest is the garment.
   That gives each colour its odds;
3. what lies behind an outline, seen from the frame's edge, is likelier the garment whatever its
   colour (a white shirt on a white wall): the geodesic distance from the edge;
4. colour, outline and place together, smoothed over neighbours that look alike (a mean field), give
   each pixel its odds; the colours are counted anew from the answer once, as GrabCut does (Rother,
   Kolmogorov and Blake 2004, https://doi.org/10.1145/1015706.1015720);
5. the largest piece of it, holes filled, hairs such as a hanger's hook taken off.

The numbers were chosen on composites of data-set pictures and made grounds, where the true mask is
known, not on photographs.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.images.palette import Floats, Indices, affinity_of, histogram, mean_colours, quantise, to_lab
from service.images.rank_filters import median
from service.images.regions import (
    KEPT_SHAPES,
    Mask,
    closeness,
    fill_holes,
    largest_piece,
    without_hairs,
)

_BORDER_SHARE = 0.06
"""Width of the frame taken as mostly ground, as a share of the longest side."""

_BORDER_ODDS, _PLACE_WEIGHT = 1.5, 0.15
"""Log odds against the garment on the frame's edge, and how much the middle speaks for it."""

_OUTLINE_WEIGHT, _NOISE = 1.0, 1.0
"""Weight of "not to be reached but across an outline", and the Lab step that is no outline."""

_PULL, _PULL_ROUNDS = 1.2, 12
"""Strength of neighbours' agreement and the rounds it takes to settle."""

_LEAST_SIDE = 8
"""Pixels of the shorter side under which there is no edge and middle to tell apart."""

_LEAST_AREA, _MOST_AREA = 0.02, 0.93
"""Share of the picture outside which a found garment is not believed."""


def garment_mask(small: Image.Image) -> Mask:
    """Find the garment.

    Args:
        small: RGB picture, about a hundred pixels on its longest side.

    Returns:
        (height, width) bool, true where the garment is; everywhere if nothing believable was found.
    """
    if min(small.size) < _LEAST_SIDE:
        return np.ones((small.height, small.width), np.bool_)
    pixels = np.asarray(small)
    calm = median(pixels)
    lab, calm_lab = to_lab(pixels), to_lab(calm)
    palette = quantise(calm, calm_lab)
    near = affinity_of(mean_colours(lab, palette))
    weights = _edge_weights(lab)
    by_place, border = _places(*palette.shape)
    place = by_place + _outline_odds(calm_lab)

    odds = _mean_field(_first_colour_odds(palette, near, border)[palette] + place, weights)
    inside = (1 / (1 + np.exp(-odds))) * np.where(border, 0.5, 1)
    odds = _mean_field(1.5 * _counted_colour_odds(palette, near, inside)[palette] + place, weights)

    mask = without_hairs(fill_holes(largest_piece(odds > 0)))
    if not _LEAST_AREA <= float(mask.mean()) <= _MOST_AREA:
        return np.ones_like(mask)
    return mask


@lru_cache(maxsize=KEPT_SHAPES)
def _places(height: int, width: int) -> tuple[Floats, Mask]:
    """Return log odds of the garment by place (the middle likelier), and the frame's edge.

    Neither is to be written to.
    """
    y = np.abs(np.linspace(-1, 1, height, dtype=np.float32))[:, None]
    x = np.abs(np.linspace(-1, 1, width, dtype=np.float32))[None]
    radius = np.cbrt(x**3 + y**3)
    middle = (2.2 * (0.72 - radius) / 0.5).clip(-2.5, 1.5)
    edge = max(1, round(_BORDER_SHARE * max(height, width)))
    border = np.ones((height, width), np.bool_)
    border[edge : height - edge, edge : width - edge] = False
    odds: Floats = (_PLACE_WEIGHT * middle - _BORDER_ODDS * border).astype(np.float32)
    odds.flags.writeable = border.flags.writeable = False
    return odds, border


def _first_colour_odds(palette: Indices, near: Floats, border: Mask) -> Floats:
    """Return each colour's log odds of garment, from the edge against the middle."""
    centre = np.where(border, 0, closeness(palette.shape, 2))
    ground = histogram(palette, near, border.astype(np.float32)) + 1e-9
    middle = histogram(palette, near, centre) + 1e-9
    # The middle is `mixed` parts ground: the ratio for the colour in the middle of the edge's own.
    ratio = middle / ground
    order = np.argsort(ratio)
    seen = np.cumsum(ground[order])
    mixed = min(0.9, float(ratio[order][np.searchsorted(seen, seen[-1] / 2)]))
    garment = (1 - mixed * ground / middle).clip(0.02, 0.98)
    odds: Floats = np.log(garment / (1 - garment)).astype(np.float32)
    return odds


def _counted_colour_odds(palette: Indices, near: Floats, inside: NDArray[np.floating]) -> Floats:
    """Return each colour's log odds of garment, from a first answer about every pixel."""
    garment = histogram(palette, near, inside)
    ground = histogram(palette, near, 1 - inside)
    odds: Floats = np.log((garment + 1e-3) / (ground + 1e-3)).clip(-4, 4).astype(np.float32)
    return odds


def _outline_odds(lab: Floats) -> Floats:
    """Return log odds of garment from how much must be crossed to get there from the edge."""
    distance = _distance_from_edge(lab)
    capped = np.minimum(distance, np.percentile(distance, 98))
    near, far = _two_levels(capped)
    threshold, step = (near + far) / 2, far - near + 1e-6
    odds: Floats = (_OUTLINE_WEIGHT * np.tanh(2 * (distance - threshold) / step)).astype(np.float32)
    return odds


def _distance_from_edge(lab: Floats) -> Floats:
    """Return the least sum of colour steps on any way from the frame's edge to each pixel."""
    down = np.maximum(np.abs(np.diff(lab, axis=1)).max(axis=0) - _NOISE, 0) + 0.05
    right = np.maximum(np.abs(np.diff(lab, axis=2)).max(axis=0) - _NOISE, 0).T + 0.05
    distance = np.full(lab.shape[1:], np.inf, np.float32)
    distance[[0, -1]] = 0
    distance[:, [0, -1]] = 0
    for _ in range(2):
        distance = _spread(_spread(distance, down).T, right).T
    return distance


def _spread(distance: Floats, step: Floats) -> Floats:
    """Let distance spread over the rows, first to last and back.

    What reaches a row from an earlier one is what that one had, and the steps between: the way to
    here less the way to there.
    """
    way = np.zeros(distance.shape)
    np.cumsum(step, axis=0, out=way[1:])
    down = way + np.minimum.accumulate(distance - way)
    up = np.minimum.accumulate((down + way)[::-1])[::-1] - way
    return up.astype(np.float32)


def _two_levels(values: Floats) -> tuple[float, float]:
    """Return the means of the two groups that Otsu's threshold parts the values into."""
    ordered = np.sort(values.ravel())
    total = np.cumsum(ordered, dtype=np.float64)
    count = np.arange(1, ordered.size)
    low = total[:-1] / count
    high = (total[-1] - total[:-1]) / (ordered.size - count)
    best = int((count * (ordered.size - count) * (high - low) ** 2).argmax())
    return float(low[best]), float(high[best])


def _edge_weights(lab: Floats) -> Floats:
    """Return how strongly each pixel is pulled from above, right, left and below.

    Args:
        lab: (3, height, width).

    Returns:
        (2, 2, height, width), the neighbours in the order of `_neighbours`; 0 where there is none.
    """
    weights = np.zeros((2, 2, *lab.shape[1:]), np.float32)
    for axis, before, after in ((1, (0, 0), (1, 1)), (2, (1, 0), (0, 1))):
        squared = (np.diff(lab, axis=axis) ** 2).sum(axis=0)
        scale = 2 * float(squared.mean()) + 1e-3
        pull = 0.15 + np.exp(-squared / scale)
        first, last = (slice(None),) * (axis - 1), (slice(1, None), slice(None, -1))
        weights[before][*first, last[0]] = pull
        weights[after][*first, last[1]] = pull
    return weights


def _neighbours(framed: Floats) -> Floats:
    """Return the neighbours of each pixel inside a frame one pixel wide, without copying.

    Above, right, left and below lie at -w, 1, -1 and w in memory, w being the length of a row. That
    is -w + i (w - 1) + j (w + 1), with i and j 0 or 1.

    Returns:
        (2, 2, height, width): above and right; left and below.
    """
    height, width = framed.shape
    size = framed.itemsize
    return np.lib.stride_tricks.as_strided(
        framed[:, 1:],
        (2, 2, height - 2, width - 2),
        ((width - 1) * size, (width + 1) * size, width * size, size),
        writeable=False,
    )


def _mean_field(unary: Floats, weights: Floats) -> Floats:
    """Return log odds after neighbours have agreed across weak edges."""
    framed = np.zeros((unary.shape[0] + 2, unary.shape[1] + 2), np.float32)
    spins, neighbours = framed[1:-1, 1:-1], _neighbours(framed)
    half_unary, half_weights = unary * np.float32(0.5), weights * np.float32(_PULL / 2)
    half = half_unary
    for _ in range(_PULL_ROUNDS):
        np.tanh(half, out=spins)
        # One call, because each lets other threads have the interpreter and waits for it again.
        half = half_unary + np.einsum("ijhw,ijhw->hw", half_weights, neighbours)
    return half * np.float32(2)
