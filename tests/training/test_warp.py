"""Warped pictures: what is one thing stays one thing, seen from somewhere else."""

import numpy as np
import numpy.typing as npt
import pytest

from training.warp import warp

Floats = npt.NDArray[np.float32]


def shirts(count: int) -> Floats:
    """Draw a body with two sleeves, (count, 28, 28)."""
    picture = np.zeros((28, 28), np.float32)
    picture[2:26, 9:19] = 0.8
    picture[3:14, 3:25] = 0.5
    return np.repeat(picture[None], count, axis=0)


def warped(label: int, count: int = 200, seed: int = 0) -> tuple[Floats, Floats]:
    pictures = shirts(count)
    labels = np.full(count, label, np.uint8)
    silhouettes = (pictures > 0).astype(np.float32)
    return warp(pictures, silhouettes, labels, np.random.default_rng(seed))


def test_picture_and_silhouette_are_warped_the_same_way() -> None:
    pictures, silhouettes = warped(0)
    assert pictures.shape == silhouettes.shape == (200, 28, 28)
    assert pictures.dtype == silhouettes.dtype == np.float32
    assert (pictures <= 0.8 * silhouettes + 1e-5).all()
    assert (pictures >= 0.5 * silhouettes - 1e-5).all()


def test_no_two_come_out_the_same_and_the_seed_decides_all() -> None:
    pictures, _ = warped(0)
    assert len({picture.tobytes() for picture in pictures}) == 200
    np.testing.assert_array_equal(pictures, warped(0)[0])
    assert (pictures != warped(0, seed=1)[0]).any()


@pytest.mark.parametrize("label", [0, 1, 2, 5, 8])
def test_the_longest_side_fills_the_frame(label: int) -> None:
    _, silhouettes = warped(label)
    rows = (silhouettes > 0.5).any(axis=2).sum(axis=1)
    columns = (silhouettes > 0.5).any(axis=1).sum(axis=1)
    longest = np.maximum(rows, columns)
    assert np.median(longest) >= 26
    assert (longest > 14).mean() > 0.98


def test_clothes_stay_upright_and_shoes_may_lie_any_way() -> None:
    def lying(label: int) -> float:
        _, silhouettes = warped(label)
        rows = (silhouettes > 0.5).any(axis=2).sum(axis=1)
        columns = (silhouettes > 0.5).any(axis=1).sum(axis=1)
        return float((columns > 1.15 * rows).mean())

    assert lying(3) < 0.3
    assert lying(7) > lying(3)


def test_a_black_picture_stays_black() -> None:
    black = np.zeros((8, 28, 28), np.float32)
    pictures, silhouettes = warp(
        black, black, np.arange(8, dtype=np.uint8), np.random.default_rng(0)
    )
    assert not pictures.any()
    assert not silhouettes.any()
