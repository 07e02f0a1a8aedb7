import numpy as np
import pytest

from tests.training.conftest import IDX_FOLDER, Published
from training.data import load_fashion_mnist
from training.outliers import area_under_roc, make_outliers
from training.run import Run


def test_outliers_are_pictures_in_the_networks_units_and_the_same_each_time() -> None:
    images = load_fashion_mnist(IDX_FOLDER, allow_other_data=True).test().images
    outliers = make_outliers(images, seed=5)
    again = make_outliers(images, seed=5)
    assert {name: len(pictures) for name, pictures in outliers.items()} == {
        "uniform noise": len(images),
        "inverted test images": len(images),
        "handwritten digits": 1797,
    }
    for name, pictures in outliers.items():
        assert pictures.shape[1:] == (28, 28, 1)
        assert pictures.dtype == np.float32
        assert pictures.min() >= 0
        assert pictures.max() <= 1
        np.testing.assert_array_equal(pictures, again[name])
    np.testing.assert_allclose(outliers["inverted test images"], 1 - images)


def test_the_area_under_the_roc_curve_is_how_often_the_novel_one_scores_higher() -> None:
    known, novel = np.array([0, 1, 2, 3], np.float32), np.array([1.5, 9], np.float32)
    assert area_under_roc(known, novel) == pytest.approx(6 / 8)


def test_an_evaluation_says_how_well_the_unknown_is_known(tiny: Published) -> None:
    novelty = Run(tiny.run_dir).read_evaluation()["novelty"]
    assert novelty["layer"] == "dense_1"
    assert np.isfinite(novelty["threshold"])
    assert 0 <= novelty["false_alarms"]["test"] <= 1
    assert novelty["false_alarms"]["validation"] == 0.05
    for row in novelty["outliers"].values():
        assert 0 <= row["auroc"] <= 1
        assert 0 <= row["auroc_of_confidence"] <= 1
        assert 0 <= row["detected"] <= 1
    assert (Run(tiny.run_dir).report / "novelty.png").is_file()
