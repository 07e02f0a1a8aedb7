"""The shipped model is a SavedModel as TensorFlow Serving and Triton load it."""

from typing import Any

import httpx
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.core.protobuf import saved_model_pb2

from service.model.artifact import FLATBUFFER, INT8_FLATBUFFER, MANIFEST, Artifact

Slice = tuple[NDArray[np.uint8], NDArray[np.uint8]]


@pytest.fixture(scope="module")
def signature_defs(artifact: Artifact) -> Any:
    """The signatures of the only graph in the file, which is tagged for serving."""
    saved = saved_model_pb2.SavedModel()
    saved.ParseFromString((artifact.directory / "saved_model.pb").read_bytes())
    [graph] = saved.meta_graphs
    assert list(graph.meta_info_def.tags) == ["serve"]
    return graph.signature_def


def test_every_signature_has_its_names_types_and_shapes(
    artifact: Artifact,
) -> None:
    signatures = tf.saved_model.load(str(artifact.directory)).signatures
    assert set(signatures) == {"serving_default", "novelty", "feature_maps"}
    for signature in signatures.values():
        [given] = signature.structured_input_signature[1].values()
        assert (given.name, given.dtype) == ("images", tf.float32)
        assert given.shape.as_list() == [None, 28, 28, 1]
    outputs = signatures["serving_default"].structured_outputs
    assert {n: (o.dtype, o.shape.as_list()) for n, o in outputs.items()} == {
        "probabilities": (tf.float32, [None, 10])
    }
    outputs = signatures["novelty"].structured_outputs
    assert {n: (o.dtype, o.shape.as_list()) for n, o in outputs.items()} == {
        "novelty": (tf.float32, [None]),
        "probabilities": (tf.float32, [None, 10]),
    }
    outputs = signatures["feature_maps"].structured_outputs
    assert {n: (o.dtype, o.shape.as_list()) for n, o in outputs.items()} == {
        layer.name: (tf.float32, [None, *layer.output_shape]) for layer in artifact.manifest.layers
    }


def test_loaded_signatures_classify_and_agree(artifact: Artifact, test_slice: Slice) -> None:
    images = tf.constant(test_slice[0][:4, ..., None] / np.float32(255))
    model = tf.saved_model.load(str(artifact.directory))
    probabilities = model.signatures["serving_default"](images=images)["probabilities"]
    assert probabilities.numpy().argmax(axis=1).tolist() == [9, 2, 1, 1]
    last = model.signatures["feature_maps"](images=images)[artifact.manifest.layers[-1].name]
    np.testing.assert_allclose(last, probabilities, atol=1e-5)


def test_v1_metadata_equals_the_signatures_of_the_saved_model(
    client: httpx.Client, signature_defs: Any
) -> None:
    metadata = client.get("/v1/models/fashion_mnist/metadata").json()["metadata"]
    answered = metadata["signature_def"]["signature_def"]
    assert set(answered) == set(signature_defs) - {"__saved_model_init_op"}
    for name, signature in answered.items():
        written = signature_defs[name]
        assert signature["method_name"] == written.method_name == "tensorflow/serving/predict"
        for direction in ("inputs", "outputs"):
            assert signature[direction] == {
                key: tensor_info(tensor) for key, tensor in getattr(written, direction).items()
            }


def tensor_info(tensor: Any) -> dict[str, object]:
    return {
        "dtype": tf.dtypes.as_dtype(tensor.dtype).name.replace("float32", "DT_FLOAT"),
        "tensor_shape": {
            "dim": [{"size": str(dim.size), "name": dim.name} for dim in tensor.tensor_shape.dim],
            "unknown_rank": tensor.tensor_shape.unknown_rank,
        },
        "name": tensor.name,
    }


def test_files_of_the_service_are_in_assets_extra(artifact: Artifact) -> None:
    for path in (MANIFEST, FLATBUFFER, INT8_FLATBUFFER):
        assert path.parent.as_posix() == "assets.extra"
        assert (artifact.directory / path).is_file()
    assert {path.name for path in artifact.directory.iterdir()} == {
        "assets.extra",
        "fingerprint.pb",
        "saved_model.pb",
        "variables",
    }
