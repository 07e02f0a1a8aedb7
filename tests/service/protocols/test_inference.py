"""The core that V1, V2 and gRPC share; other tests cover each protocol over the wire."""

import json
import math
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from PIL import Image

from service.arrays import Assessment
from service.capacity.admission import Permit
from service.errors import AnswerTooLarge, DeadlineExceeded, InvalidTensor
from service.model.artifact import LAYERS, PICTURES, Artifact, Novelty
from service.model.classifier import Classifier, Engine
from service.protocols import open_inference, tf_serving
from service.protocols.inference import (
    MAX_LAYER_VALUES,
    Message,
    PreparedRequest,
    Read,
    RequestedOutput,
    infer,
    output_specs,
    prepare,
    prepare_outputs,
    read_message,
)
from service.protocols.tensors import NamedTensor
from tests.service.conftest import Encode

IMAGES = np.zeros((2, 28, 28), np.uint8)


def request(*outputs: str, model: str = "fashion_mnist", **fields: object) -> Message:
    tensor = {"name": "images", "datatype": "UINT8", "shape": [*IMAGES.shape], "data": IMAGES}
    requested = [{"name": name} for name in outputs]
    return Message(model, {"inputs": [tensor], "outputs": requested, **fields})


def reader_of(request: Message) -> Read[list[NamedTensor]]:
    """Return a reader of this request whose response is the list of outputs."""

    def read(classifier: Classifier, permit: Permit) -> PreparedRequest[list[NamedTensor]]:
        return read_message(request, classifier, permit, lambda _, outputs, __: list(outputs))

    return read


def body_with(key: str) -> bytes:
    pixels = json.dumps([0] * 784)
    if key == "instances":
        return f'{{"instances":[{pixels}]}}'.encode()
    tensor = f'{{"name":"images","shape":[1,784],"datatype":"UINT8","data":{pixels}}}'
    return f'{{"inputs":[{tensor}]}}'.encode()


@pytest.mark.parametrize(
    ("outputs", "is_predicted"),
    [
        ((), True),
        (("label", "novelty"), True),
        (("conv2d_1",), False),
        (("conv2d_1", "label"), True),
    ],
)
def test_inference_records_version_images_phases_and_predictions(
    classifier: Classifier,
    permit: Permit,
    outputs: tuple[str, ...],
    is_predicted: bool,
) -> None:
    infer(reader_of(request(*outputs)), classifier, permit)
    record = permit.record
    assert record.version == classifier.manifest.version
    assert (record.images, record.batch) == (2, 2)
    assert list(record.phases) == ["queue", "decode", "prepare", "infer", "encode"]
    assert (record.predictions is not None) is is_predicted
    if record.predictions:
        assert record.predictions.version == classifier.manifest.version
        assert len(record.predictions.probabilities) == 2
    prepared = prepare(reader_of(request(*outputs)), classifier, permit)
    assert prepared.needs_layers is ("conv2d_1" in outputs)
    assert prepared.needs_assessment is is_predicted


@pytest.mark.parametrize("protocol", ["V1", "V2"])
def test_prepare_and_write_record_no_inference(
    classifier: Classifier, permit: Permit, protocol: str
) -> None:
    if protocol == "V1":
        read = partial(tf_serving.read, body_with("instances"))
    else:
        read = partial(open_inference.read, "fashion_mnist", body_with("inputs"), None)
    request = prepare(read, classifier, permit)
    np.testing.assert_array_equal(request.images, np.zeros((1, 28, 28, 1), np.float32))
    body, json_length = request.write(classifier.assess(request.images), {})
    assert body.startswith(b'{"predictions' if protocol == "V1" else b'{"model_name')
    assert json_length is None
    assert permit.record.batch == 0
    assert list(permit.record.phases) == ["queue", "decode", "prepare"]


@pytest.mark.parametrize("by_row", [True, False], ids=["rows", "columns"])
def test_nan_novelty_is_written_as_nan_like_tensorflow_serving(
    classifier: Classifier, permit: Permit, by_row: bool
) -> None:
    body = body_with("instances").replace(b"{", b'{"signature_name":"novelty",', 1)
    if not by_row:
        body = body.replace(b'"instances"', b'"inputs"')
    request = tf_serving.read(body, classifier, permit)
    probabilities = np.full((1, 10), np.nan, np.float32)
    answer, _ = request.write(Assessment(probabilities, probabilities[:, 0]), {})
    [table] = json.loads(answer).values()
    assert math.isnan(table[0]["novelty"] if by_row else table["novelty"][0])


def test_every_output_has_the_datatype_and_shape_of_the_metadata(
    classifier: Classifier, permit: Permit
) -> None:
    manifest = classifier.manifest
    specs = [
        spec
        for ending in (PICTURES, LAYERS)
        for spec in output_specs(manifest, manifest.name + ending)
    ]
    names = [str(spec["name"]) for spec in specs]
    outputs = infer(reader_of(request(*names)), classifier, permit)
    for spec, output in zip(specs, outputs, strict=True):
        assert spec == {
            "name": output.name,
            "datatype": output.datatype,
            "shape": (-1, *output.values.shape[1:]),
        }
        assert len(output.values) == 2


def test_non_finite_image_gives_nan_and_no_class(classifier: Classifier, permit: Permit) -> None:
    images = np.zeros((2, 784), np.float32)
    images[1, 5] = np.nan
    tensor = {"name": "images", "datatype": "FP32", "shape": [2, 784], "data": images}
    sent = request("probabilities", "class_id", "label", inputs=[tensor])
    probabilities, class_ids, labels = infer(reader_of(sent), classifier, permit)
    assert np.isnan(np.asarray(probabilities.values)).all(axis=1).tolist() == [False, True]
    assert np.asarray(class_ids.values)[1] == -1
    assert labels.values[1] == b""


def test_cancelled_request_is_not_run(classifier: Classifier, permit: Permit) -> None:
    permit.cancel()
    with pytest.raises(DeadlineExceeded):
        infer(reader_of(request()), classifier, permit)
    assert permit.record.batch == 0


def test_unknown_output_is_rejected_before_images_are_read(
    classifier: Classifier, permit: Permit
) -> None:
    damaged = {"name": "image", "datatype": "BYTES", "shape": [1], "data": [b"damaged"]}
    with pytest.raises(
        InvalidTensor, match="no output 'x'; the outputs are probabilities, class_id"
    ):
        reader_of(request("x", inputs=[damaged]))(classifier, permit)


def test_layer_outputs_over_the_response_limit_are_rejected(classifier: Classifier) -> None:
    conv = next(layer for layer in classifier.manifest.layers if layer.name == "conv2d_1")
    images = np.zeros((MAX_LAYER_VALUES // math.prod(conv.output_shape) + 1, 28, 28, 1), np.float32)
    outputs = [RequestedOutput(conv.name, is_layer=True)]
    prepare_outputs(outputs, (images[1:], False), classifier, list)
    with pytest.raises(AnswerTooLarge, match=f"the limit is {MAX_LAYER_VALUES}"):
        prepare_outputs(outputs, (images, False), classifier, list)


@pytest.fixture
def ambiguous(artifact: Artifact, classifier: Classifier) -> Classifier:
    """A model without novelty whose layers are named like outputs; layer n has the value n."""
    names = "label", "class_id", "novelty", "in_distribution", "a", "b", "c", "probabilities"
    layers = [
        layer.model_copy(update={"name": name})
        for layer, name in zip(artifact.manifest.layers, names, strict=True)
    ]
    changes = {"layers": tuple(layers), "novelty": None}
    outputs = {
        layer.name: np.full((2, *layer.output_shape), index, np.float32)
        for index, layer in enumerate(layers, 1)
    }
    engine = SimpleNamespace(
        name="",
        precision="",
        assess=lambda *_: Assessment(np.full((2, 10), 0.1, np.float32), None),
        feature_maps=lambda *_: outputs,
    )
    manifest = artifact.manifest.model_copy(update=changes)
    return Classifier(replace(artifact, manifest=manifest), cast("Engine", engine))


def test_layers_may_be_named_like_other_outputs(ambiguous: Classifier, permit: Permit) -> None:
    layers = ambiguous.manifest.layers
    for sent in (
        request(model="fashion_mnist_layers"),
        request(*(each.name for each in layers), model="fashion_mnist_layers"),
    ):
        outputs = infer(reader_of(sent), ambiguous, permit)
        assert [(each.name, each.values.shape) for each in outputs] == [
            (layer.name, (2, *layer.output_shape)) for layer in layers
        ]
        assert [np.max(each.values) for each in outputs] == [1, 2, 3, 4, 5, 6, 7, 8]
    names = "label", "class_id", "probabilities", "novelty", "in_distribution"
    outputs = infer(reader_of(request(*names)), ambiguous, permit)
    assert [each.datatype for each in outputs] == ["BYTES", "INT64", "FP32", "FP32", "FP32"]
    assert [np.max(each.values) for each in outputs[2:]] == [np.float32(0.1), 3, 4]
    ranking = {"name": "probabilities", "parameters": {"classification": 1}}
    sent = request(model="fashion_mnist_layers", outputs=[ranking])
    [best] = infer(reader_of(sent), ambiguous, permit)
    assert best.values.tolist() == [[b"0.100000:0:T-shirt/top"]] * 2


def test_feature_maps_signature_returns_only_layers(ambiguous: Classifier, permit: Permit) -> None:
    for signature, expected in (("feature_maps", 8), ("serving_default", np.float32(0.1))):
        body = body_with("instances").replace(
            b"{", f'{{"signature_name":"{signature}",'.encode(), 1
        )
        answer = json.loads(infer(partial(tf_serving.read, body), ambiguous, permit)[0])
        [row, _] = answer["predictions"]
        layers = row if signature == "feature_maps" else {"probabilities": row}
        assert np.float32(layers["probabilities"][0]) == expected
        assert ("label" in layers) is (signature == "feature_maps")


def test_photo_threshold_applies_to_images_prepared_as_photos(
    artifact: Artifact, classifier: Classifier, permit: Permit, encode: Encode, boot_png: bytes
) -> None:
    novelty = Novelty(score="", layer="", threshold=-1, photo_threshold=9)
    manifest = artifact.manifest.model_copy(update={"novelty": novelty})
    strict = Classifier(replace(artifact, manifest=manifest), classifier._engine)
    photo = encode(Image.new("RGB", (64, 64), "grey"))
    files = [boot_png, photo, boot_png]
    tensor = {"name": "image", "datatype": "BYTES", "shape": [3], "data": files}
    for prepare_as, expected in (
        ("auto", [False, True, False]),
        ("photo", [True, True, True]),
        ("plain", [False, False, False]),
    ):
        parameters = {"prepare": prepare_as}
        sent = request("in_distribution", inputs=[tensor], parameters=parameters)
        [output] = infer(reader_of(sent), strict, permit)
        assert np.asarray(output.values).tolist() == expected
