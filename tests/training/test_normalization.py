from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tests.training.conftest import TINY_DATA, TINY_NETWORK
from training.__main__ import main
from training.architecture import build_network
from training.evaluate import load_network
from training.normalization import build_normalized, fold_normalization
from training.recipe import Activation, Block, Network
from training.run import Run


def images(count: int) -> Any:
    return np.random.default_rng(count).random((count, 28, 28, 1), np.float32)


def trained(network: Network) -> Any:
    """Return a network whose scales, offsets and averages all differ from where they began."""
    model = build_normalized(network)
    model.compile(keras.optimizers.SGD(0.1), "categorical_crossentropy", run_eagerly=True)
    classes = np.eye(10, dtype=np.float32)[np.arange(64) % 10]
    model.fit(images(64), classes, batch_size=16, epochs=2, verbose=0)
    return model


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu"])
@pytest.mark.parametrize("pooling", ["max", "average", "none"])
def test_the_folded_network_gives_the_same_answers(activation: Activation, pooling: Any) -> None:
    block = Block(filters=3, activation=activation, pooling=pooling)
    other = block.model_copy(update={"padding": "valid", "strides": 2, "kernel_size": 2})
    network = Network(blocks=(block, other), dense_units=8, dense_activation=activation)
    normalized = trained(network)
    folded = fold_normalization(normalized, network)
    expected = np.asarray(normalized(images(20)))
    np.testing.assert_allclose(folded(images(20)), expected, atol=1e-5)
    assert np.ptp(expected, axis=0).max() > 1e-3


def test_what_is_folded_is_the_documented_network() -> None:
    network = Network()
    plain, folded = build_network(network), fold_normalization(build_normalized(network), network)
    assert [layer.name for layer in folded.layers] == [layer.name for layer in plain.layers]
    assert [weights.shape for weights in folded.get_weights()] == [
        weights.shape for weights in plain.get_weights()
    ]


def test_the_maximum_is_taken_before_normalising_only_where_that_changes_nothing() -> None:
    def order(block: Block) -> list[str]:
        layers = build_normalized(Network(blocks=(block,))).layers[:4]
        return [type(layer).__name__ for layer in layers]

    early = ["Conv2D", "MaxPooling2D", "BatchNormalization", "Activation"]
    assert order(Block()) == early
    late = ["Conv2D", "BatchNormalization", "Activation", "MaxPooling2D"]
    assert order(Block(activation="gelu")) == late
    assert order(Block(pooling="average"))[-1] == "AveragePooling2D"


@pytest.mark.usefixtures("unsaved_pictures")
def test_a_run_with_normalisation_is_evaluated_without_it(tmp_path: Path) -> None:
    where = [*TINY_DATA, f"--run-dir={tmp_path}"]
    settings = ["--fit.batch-normalization", "--fit.epochs=2"]
    assert main(["fit", *where, *TINY_NETWORK, *settings]) == 0
    run = Run(tmp_path)
    recipe, _ = run.read_about()
    assert recipe.fit.batch_normalization
    normalized = keras.models.load_model(run.checkpoint)
    network = load_network(run, recipe)
    assert not [layer for layer in network.layers if "normalized" in layer.name]
    np.testing.assert_allclose(
        network.predict(images(9), verbose=0), normalized.predict(images(9), verbose=0), atol=1e-5
    )
