"""End to end: the service predicts like Keras with a model that the training commands published."""

from typing import Any

import httpx
import keras
import numpy as np
import pytest

from service.settings import EngineChoice, Settings
from tests.service.conftest import ENGINES, serve
from tests.training.conftest import IDX_FOLDER, Published
from training.data import load_fashion_mnist, to_inputs
from training.run import Run


@pytest.mark.parametrize("engine", ENGINES)
def test_service_predicts_like_keras_for_a_newly_trained_model(
    tiny: Published, engine: EngineChoice
) -> None:
    figures = load_fashion_mnist(IDX_FOLDER, allow_other_data=True).test_images[:8]
    model: Any = keras.models.load_model(Run(tiny.run_dir).model, compile=False)
    first_map = keras.Model(model.inputs[0], model.layers[0].output)
    with serve(Settings(artifacts=tiny.artifacts, engine=engine)) as client:
        answer = client.post("/predict", json={"instances": figures.tolist()})
        maps = client.post(
            "/feature-maps",
            params={"layer": "conv2d_1"},
            json={"instances": [figures[0].tolist()]},
        )
    assert_close(answer, model.predict(to_inputs(figures), verbose=0))
    expected = first_map.predict(to_inputs(figures[:1]), verbose=0)[0]
    actual = np.array(maps.json()["layers"][0]["maps"]).transpose(1, 2, 0)
    np.testing.assert_allclose(actual, expected, atol=1e-4)


def assert_close(answer: httpx.Response, expected: Any) -> None:
    rows = [
        list(prediction["probabilities"].values()) for prediction in answer.json()["predictions"]
    ]
    # The tolerance allows for int8 weights in so small a network.
    np.testing.assert_allclose(rows, expected, atol=0.02)
