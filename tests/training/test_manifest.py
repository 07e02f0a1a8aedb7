import re

import keras

from training.architecture import build_network
from training.manifest import describe_layer, layer_inputs, summarise
from training.recipe import Block, Network


def test_layer_is_described_by_type_configuration_shape_and_parameters() -> None:
    model = build_network(Network())
    assert [describe_layer(model.get_layer(name)) for name in ("conv2d_1", "max_pooling2d_1")] == [
        {
            "name": "conv2d_1",
            "type": "Conv2D",
            "configuration": {
                "filters": 32,
                "kernel_size": (3, 3),
                "strides": (1, 1),
                "padding": "same",
                "activation": "relu",
            },
            "output_shape": [28, 28, 32],
            "parameters": 320,
        },
        {
            "name": "max_pooling2d_1",
            "type": "MaxPooling2D",
            "configuration": {"pool_size": (2, 2), "strides": (2, 2), "padding": "valid"},
            "output_shape": [14, 14, 32],
            "parameters": 0,
        },
    ]
    rest = {
        name: describe_layer(model.get_layer(name))["configuration"]
        for name in ("flatten", "dense_1", "dropout", "dense_2")
    }
    assert rest == {
        "flatten": {},
        "dense_1": {"units": 100, "activation": "relu"},
        "dropout": {"rate": 0.4},
        "dense_2": {"units": 10, "activation": "softmax"},
    }


def test_summary_is_plain_text_of_at_most_80_columns() -> None:
    blocks = tuple(Block(filters=1000, pooling="none") for _ in range(5))
    text = summarise(build_network(Network(blocks=blocks)))
    assert max(map(len, text.splitlines())) <= 80
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", text)
    assert "conv2d_5 (Conv2D)" in text
    assert "Total params" in text


def test_layer_inputs_names_the_layers_whose_outputs_each_layer_takes() -> None:
    names = [layer.name for layer in build_network(Network()).layers]
    inputs = layer_inputs(build_network(Network()))
    assert list(inputs) == names
    assert list(inputs.values()) == [[], *([name] for name in names[:-1])]
    layers = keras.layers
    images = keras.Input((8, 8, 1), name="images")
    first = layers.Conv2D(2, 3, padding="same", name="first")(images)
    second = layers.Conv2D(2, 3, padding="same", name="second")(first)
    added = layers.Add(name="added")([first, second])
    pooled = layers.GlobalAveragePooling2D(name="pooled")(added)
    assert layer_inputs(keras.Model(images, pooled)) == {
        "first": [],
        "second": ["first"],
        "added": ["first", "second"],
        "pooled": ["added"],
    }
