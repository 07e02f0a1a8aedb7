import numpy as np

from training.teacher import build_teacher


def test_the_teacher_answers_with_probabilities_of_ten_classes() -> None:
    images = np.random.default_rng(0).random((3, 28, 28, 1), np.float32)
    probabilities = build_teacher(width=2, dtype="mixed_bfloat16").predict(images, verbose=0)
    assert (probabilities.shape, probabilities.dtype) == ((3, 10), np.float32)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)


def test_the_teacher_has_the_parameters_its_documentation_says() -> None:
    assert round(build_teacher(width=32).count_params(), -5) == 1_600_000
