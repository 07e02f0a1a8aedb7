"""Segments the garment on a photograph with any background: wood, a rug, a red blanket.

1. Colours (CIE Lab) are quantised to a small palette; similar colours share their counts.
2. The border shows background, the middle a mixture of background and garment. The background's
   share of the mixture, estimated from the border's colours, gives each colour its odds.
3. An area enclosed by an outline is likelier the garment, whatever its colour (a white shirt on a
   white wall): the geodesic distance from the border gives each pixel its odds.
4. A mean field adds the odds of colour, outline and place, and smooths them over similar
   neighbours. The result recounts the colours once, as in GrabCut (Rother, Kolmogorov and Blake
   2004, https://doi.org/10.1145/1015706.1015720).
5. The garment is the largest component, without holes or thin lines such as a hanger's hook. Its
   mask is soft: doubtful pixels are dimmed, since a network still sees a dim sleeve.

The constants were tuned on composites with known masks. `scipy.ndimage` would cost 0.17 s, 20 MB.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

Floats = NDArray[np.float32]
Indices = NDArray[np.intp]
Mask = NDArray[np.bool_]

_GRID = np.array([16, 4, 1])  # 64 initial colours, enough to tell a check from a rug
_SAME_COLOUR = 5.0  # Lab distance up to which colours share counts
_LIGHTNESS = 0.7  # weight in colour distance: folds and shadows change it more than hue
_BORDER_SHARE = 0.06  # width of the border as a share of the longest side
_BORDER_ODDS, _PLACE_WEIGHT = 1.5, 0.15  # against the garment on the border; for it in the middle
_OUTLINE_WEIGHT, _NOISE = 1.0, 1.0  # weight of the outlines' odds; the largest Lab step of noise
_PULL, _PULL_ROUNDS = 1.2, 12  # weight of neighbours; rounds until the mean field converges
_SOFTNESS, _LEAST_INSIDE = 0.5, 0.7  # weight of the odds in the mask; its least on the garment
_NEAR = 2  # pixels around the garment that may belong to it
_MIN_SIDE = 8  # pixels of the shorter side, below which border and middle do not differ
_MIN_AREA, _MAX_AREA = 0.02, 0.93  # range of plausible masks, as a share of the image

# Linear light in [0, 1] for each value of an sRGB channel.
_SRGB = np.arange(256, dtype=np.float32) / 255
_LINEAR: Floats = np.where(_SRGB > 0.04045, ((_SRGB + 0.055) / 1.055) ** 2.4, _SRGB / 12.92)

# Linear RGB to XYZ (D65), each row divided by the XYZ of white.
_TO_XYZ = np.array(
    [[0.4339, 0.3762, 0.1899], [0.2126, 0.7152, 0.0722], [0.0177, 0.1095, 0.8728]], np.float32
)


def garment_mask(image: Image.Image) -> Floats:
    """Find the garment on an RGB image whose longest side has about a hundred pixels.

    Returns (height, width): from 0 on the background to 1 on the garment, over 0.5 where it is the
    likelier of the two; 1 everywhere if no mask is plausible.
    """
    if min(image.size) < _MIN_SIDE:
        return np.ones(image.size[::-1], np.float32)
    pixels = np.asarray(image)
    lab = _to_lab(pixels)
    palette = _quantise(pixels, lab)
    affinity = _affinity(_mean_colours(lab, palette))
    weights = _neighbour_weights(lab)
    place, border = _place_odds(*palette.shape)
    prior = place + _outline_odds(lab)

    odds = _mean_field(_first_colour_odds(palette, affinity, border)[palette] + prior, weights)
    inside = (1 / (1 + np.exp(-odds))) * np.where(border, 0.5, 1)
    garment = _histogram(palette, affinity, inside) + 1e-3
    ground = _histogram(palette, affinity, 1 - inside) + 1e-3
    counted = 1.5 * np.log(garment / ground).clip(-4, 4)
    odds = _mean_field(counted[palette] + prior, weights)

    garment_pixels = largest_piece(opened(fill_holes(largest_piece(odds > 0))))
    if not _MIN_AREA <= float(garment_pixels.mean()) <= _MAX_AREA:
        return np.ones_like(odds)
    wider = garment_pixels
    for axis in (0, 1) * _NEAR:
        wider = np.logical_or.reduce(_shifted(wider, axis))
    blurred = Image.fromarray(wider).convert("L").filter(ImageFilter.BoxBlur(_NEAR))
    near = np.asarray(blurred, np.float32) / 255
    soft = near / (1 + np.exp(-_SOFTNESS * odds))
    return np.asarray(np.maximum(soft, _LEAST_INSIDE * garment_pixels), np.float32)


def _to_lab(pixels: NDArray[np.uint8]) -> Floats:
    """Return (height, width, 3) RGB as CIE Lab (D65), (3, height, width)."""
    linear = _LINEAR[np.ascontiguousarray(pixels.transpose(2, 0, 1))]
    x, y, z = np.cbrt(np.einsum("kc,chw->khw", _TO_XYZ, linear))  # einsum starts no threads
    return np.asarray(np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)]), np.float32)


def _quantise(pixels: NDArray[np.uint8], lab: Floats) -> Indices:
    """Return each pixel's index in the image's palette, after one round of k-means in Lab."""
    palette = _without_gaps((pixels >> 6) @ _GRID)
    means = _mean_colours(lab, palette)
    # |p - m|² without |p|², which does not depend on the mean
    distances = np.einsum("kc,cp->kp", -2 * means, lab.reshape(3, -1))
    distances += (means**2).sum(axis=1)[:, None]
    # `distances.argmin(axis=0)`, seven times faster
    from_last = np.arange(len(means), 0, -1, dtype=np.uint8)[:, None]
    nearest = ((distances == distances.min(axis=0)) * from_last).max(axis=0)
    return _without_gaps((len(means) - nearest).reshape(palette.shape))


def _without_gaps(palette: NDArray[np.integer]) -> Indices:
    """Renumber the colours that occur, in order."""
    numbers: Indices = (np.cumsum(np.bincount(palette.ravel()) > 0) - 1)[palette]
    return numbers


def _mean_colours(lab: Floats, palette: Indices) -> Floats:
    """Return the mean Lab colour of each palette entry: (colours, 3)."""
    flat = palette.ravel()
    sums = np.stack([np.bincount(flat, channel.ravel()) for channel in lab], axis=1)
    return (sums / np.maximum(np.bincount(flat), 1)[:, None]).astype(np.float32)


def _affinity(means: Floats) -> Floats:
    """Return how far each pair of colours shares counts: (colours, colours)."""
    difference = means[:, None] - means[None]
    difference[..., 0] *= _LIGHTNESS
    squared = (difference**2).sum(axis=2)
    return np.asarray(np.exp(-squared / (2 * _SAME_COLOUR**2)), np.float32)


def _histogram(palette: Indices, affinity: Floats, weight: NDArray[np.floating]) -> Floats:
    """Return the weighted share of each palette colour; similar colours share counts."""
    count = affinity @ np.bincount(palette.ravel(), weight.ravel(), len(affinity))
    return np.asarray(count / count.sum(), np.float32)


# Log odds of garment against background


def _first_colour_odds(palette: Indices, affinity: Floats, border: Mask) -> Floats:
    """Return the log odds of each colour, from the border against the middle."""
    ground = _histogram(palette, affinity, border.astype(np.float32)) + 1e-9
    middle = _histogram(palette, affinity, np.where(border, 0, _closeness(palette.shape, 2))) + 1e-9
    # `mixed` is the background's share of the middle: the ratio for the border's median colour.
    ratio = middle / ground
    order = np.argsort(ratio)
    cumulative = np.cumsum(ground[order])
    mixed = min(0.9, float(ratio[order][np.searchsorted(cumulative, cumulative[-1] / 2)]))
    garment = (1 - mixed * ground / middle).clip(0.02, 0.98)
    return np.asarray(np.log(garment / (1 - garment)), np.float32)


def _place_odds(height: int, width: int) -> tuple[Floats, Mask]:
    """Return the log odds of each place, higher in the middle, and the mask of the border."""
    y, x = (np.abs(each) for each in _positions((height, width)))
    middle = (2.2 * (0.72 - np.cbrt(x**3 + y**3)) / 0.5).clip(-2.5, 1.5)
    edge = max(1, min(round(_BORDER_SHARE * max(height, width)), height // 4, width // 4))
    border = np.ones((height, width), np.bool_)
    border[edge : height - edge, edge : width - edge] = False
    return np.asarray(_PLACE_WEIGHT * middle - _BORDER_ODDS * border, np.float32), border


def _closeness(shape: tuple[int, ...], decay: int) -> Floats:
    """Return e^(-decay d²), where d goes from 0 in the middle to 1 in the middle of each side."""
    y, x = _positions(shape)
    return np.asarray(np.exp(-decay * (x**2 + y**2)), np.float32)


def _positions(shape: tuple[int, ...]) -> list[Floats]:
    """Return coordinates in [-1, 1] of rows and columns: (height, 1) and (1, width)."""
    axes = [np.linspace(-1, 1, length, dtype=np.float32) for length in shape]
    return list(np.ix_(*axes))


def _outline_odds(lab: Floats) -> Floats:
    """Return the log odds of each pixel from its geodesic distance to the border."""
    distance = _distance_from_edge(lab)
    # Otsu's threshold: the split with the largest variance between the two groups.
    ordered = np.sort(np.minimum(distance, np.percentile(distance, 98)).ravel())
    total = np.cumsum(ordered, dtype=np.float64)
    count = np.arange(1, ordered.size)
    low = total[:-1] / count
    high = (total[-1] - total[:-1]) / (ordered.size - count)
    best = int((count * (ordered.size - count) * (high - low) ** 2).argmax())
    near, far = float(low[best]), float(high[best])
    threshold, step = (near + far) / 2, far - near + 1e-6
    return np.asarray(_OUTLINE_WEIGHT * np.tanh(2 * (distance - threshold) / step), np.float32)


def _distance_from_edge(lab: Floats) -> Floats:
    """Return the smallest sum of colour steps on a path from the image's edge to each pixel."""
    down = np.maximum(np.abs(np.diff(lab, axis=1)).max(axis=0) - _NOISE, 0) + 0.05
    right = np.maximum(np.abs(np.diff(lab, axis=2)).max(axis=0) - _NOISE, 0).T + 0.05
    distance = np.full(lab.shape[1:], np.inf, np.float32)
    distance[[0, -1]] = 0
    distance[:, [0, -1]] = 0
    for _ in range(2):
        distance = _spread(_spread(distance, down).T, right).T
    return distance


def _spread(distance: Floats, step: Floats) -> Floats:
    """Propagate distances over the rows, first to last and back."""
    # The length of the path between two rows is the difference of their cumulative sums.
    path = np.zeros(distance.shape)
    np.cumsum(step, axis=0, out=path[1:])
    down = path + np.minimum.accumulate(distance - path)
    up = np.minimum.accumulate((down + path)[::-1])[::-1] - path
    return up.astype(np.float32)


def _neighbour_weights(lab: Floats) -> Floats:
    """Return the weights of the four neighbours in `_mean_field`: (2, 2, height, width)."""
    weights = np.zeros((2, 2, *lab.shape[1:]), np.float32)
    for axis, before, after in ((1, (0, 0), (1, 1)), (2, (1, 0), (0, 1))):
        squared = (np.diff(lab, axis=axis) ** 2).sum(axis=0)
        pull = 0.15 + np.exp(-squared / (2 * float(squared.mean()) + 1e-3))
        lead = (slice(None),) * (axis - 1)
        weights[before][*lead, 1:] = pull
        weights[after][*lead, :-1] = pull
    return weights


def _mean_field(unary: Floats, weights: Floats) -> Floats:
    """Return log odds smoothed over similar neighbours."""
    height, width = unary.shape
    framed = np.zeros((height + 2, width + 2), np.float32)
    spins = framed[1:-1, 1:-1]
    # The neighbours above, right, left and below are at memory offsets -w, 1, -1 and w, where w is
    # the row length: at -w + i (w - 1) + j (w + 1) for i and j in {0, 1}.
    strides = np.array([width + 1, width + 3, width + 2, 1]) * framed.itemsize
    neighbours = np.lib.stride_tricks.as_strided(
        framed[:, 1:], weights.shape, tuple(strides), writeable=False
    )
    half_unary, half_weights = unary * np.float32(0.5), weights * np.float32(_PULL / 2)
    half = half_unary
    for _ in range(_PULL_ROUNDS):
        np.tanh(half, out=spins)
        # One call, because each releases the GIL and waits for it again.
        half = half_unary + np.einsum("ijhw,ijhw->hw", half_weights, neighbours)
    return half * np.float32(2)


# Morphology. Pillow's filters are slower and hold the GIL.


def opened(mask: Mask) -> Mask:
    """Return the morphological opening, which removes thin lines."""
    for choose in (np.logical_and, np.logical_or):
        for axis in (0, 1):
            mask = choose.reduce(_shifted(mask, axis))
    return mask


def _shifted(pixels: Mask, axis: int) -> list[Mask]:
    """Return the mask shifted by -1, 0 and 1 along the axis."""
    lead = (slice(None),) * axis
    padded = np.concatenate((pixels[*lead, :1], pixels, pixels[*lead, -1:]), axis)
    return [padded[*lead, start : start + pixels.shape[axis]] for start in range(3)]


def largest_piece(mask: Mask) -> Mask:
    """Return the largest connected component; pixels near the middle count more."""
    if not mask.any():
        return mask
    weight = np.where(mask, _closeness(mask.shape, 1), 0)
    labels = _pieces(mask)
    piece: Mask = labels == np.bincount(labels.ravel(), weight.ravel()).argmax()
    return piece


def fill_holes(mask: Mask) -> Mask:
    """Return the mask with its holes filled."""
    labels = _pieces(np.pad(mask, 1))
    filled: Mask = (labels != labels[0, 0])[1:-1, 1:-1]
    return filled


def _pieces(mask: Mask) -> Indices:
    """Label the connected components of the mask and of its complement."""
    # Labels propagate along whole runs of rows and columns in turn: a few sweeps for a garment.
    runs = []
    for lines in (mask, mask.T):
        starts = np.ones(lines.shape, np.bool_)
        starts[:, 1:] = lines[:, 1:] != lines[:, :-1]
        places = np.flatnonzero(starts)
        runs.append((places, np.diff(places, append=mask.size)))
    labels = np.arange(mask.size, dtype=np.intp).reshape(mask.shape)
    while True:
        before = labels
        for places, lengths in runs:
            along = np.minimum.reduceat(labels.ravel(), places)
            labels = np.repeat(along, lengths).reshape(labels.shape).T
        if np.array_equal(labels, before):
            return labels
