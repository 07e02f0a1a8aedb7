"""Connected pieces of a mask, with nothing but NumPy.

`scipy.ndimage` has all of this, at 0.17 s of start-up and 20 MB of every worker.
"""

import numpy as np
from numpy.typing import NDArray

from service.rank_filters import largest, smallest

Mask = NDArray[np.bool_]


def largest_piece(mask: Mask) -> Mask:
    """Return the largest connected piece, pixels near the middle counting for more."""
    if not mask.any():
        return mask
    height, width = mask.shape
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None]
    weight = np.where(mask, np.exp(-(x**2 + y**2)), 0)
    labels = _pieces(mask)
    best: int = int(np.bincount(labels.ravel(), weight.ravel()).argmax())
    piece: Mask = labels == best
    return piece


def fill_holes(mask: Mask) -> Mask:
    """Return the mask with everything filled that the outside cannot reach."""
    labels = _pieces(np.pad(mask, 1))
    filled: Mask = (labels != labels[0, 0])[1:-1, 1:-1]
    return filled


def without_hairs(mask: Mask) -> Mask:
    """Return the mask without hairs such as a hanger's hook."""
    return largest_piece(largest(smallest(mask)))


def _pieces(mask: Mask) -> NDArray[np.intp]:
    """Return a label for each pixel: the same for pixels of one connected piece (or one gap).

    Labels spread along whole runs, rows and columns in turn, until nothing changes: a handful of
    sweeps for a garment.
    """
    height, width = mask.shape
    labels = np.arange(mask.size, dtype=np.intp).reshape(height, width)
    row_starts, column_starts = _runs(mask), _runs(mask.T)
    row_lengths = np.diff(row_starts, append=mask.size)
    column_lengths = np.diff(column_starts, append=mask.size)
    while True:
        along = np.minimum.reduceat(labels.ravel(), row_starts)
        rows = np.repeat(along, row_lengths).reshape(height, width)
        along = np.minimum.reduceat(rows.T.ravel(), column_starts)
        new = np.ascontiguousarray(np.repeat(along, column_lengths).reshape(width, height).T)
        if np.array_equal(new, labels):
            return labels
        labels = new


def _runs(mask: Mask) -> NDArray[np.intp]:
    """Return where, in the flattened mask, each run of equal pixels along a row begins."""
    starts = np.ones(mask.shape, np.bool_)
    starts[:, 1:] = mask[:, 1:] != mask[:, :-1]
    return np.flatnonzero(starts)
