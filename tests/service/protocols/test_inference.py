"""What V1, V2 and gRPC share; their own tests show the rest over the wire."""

import json
import math
import re
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
    InferenceRequest,
    PreparedRequest,
    Read,
    RequestedOutput,
    infer,
    output_specs,
    prepare,
    prepare_outputs,
    read_tensors,
)
from service.protocols.tensors import DTYPES, NamedTensor
from tests.service.conftest import Encode

IMAGES = np.zeros((2, 28, 28), np.uint8)


def request(*outputs: str) -> InferenceRequest:
    tensor = NamedTensor("images", "UINT8", IMAGES.shape, IMAGES)
    requested = [RequestedOutput(name) for name in outputs]
    return InferenceRequest("fashion_mnist", [tensor], requested)


def reading(request: InferenceRequest) -> Read[list[NamedTensor]]:
    """The request as if it had just come over a wire; its answer is its outputs."""

    def read(classifier: Classifier, permit: Permit) -> PreparedRequest[list[NamedTensor]]:
        return read_tensors(request, classifier, permit, lambda _, outputs, __: list(outputs))

    return read


def body_of(key: str) -> bytes:
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
def test_each_run_of_the_network_is_recorded_once(
    classifier: Classifier,
    permit: Permit,
    outputs: tuple[str, ...],
    is_predicted: bool,
) -> None:
    infer(reading(request(*outputs)), classifier, permit)
    record = permit.record
    assert record.version == classifier.manifest.version
    assert (record.images, record.batch) == (2, 2)
    assert list(record.phases) == ["queue", "decode", "prepare", "infer", "encode"]
    assert (record.predictions is not None) is is_predicted
    if record.predictions:
        assert record.predictions.version == classifier.manifest.version
        assert len(record.predictions.probabilities) == 2
    prepared = prepare(reading(request(*outputs)), classifier, permit)
    assert prepared.needs_layers is ("conv2d_1" in outputs)
    assert prepared.needs_assessment is is_predicted


@pytest.mark.parametrize("protocol", ["V1", "V2"])
def test_reading_and_writing_record_no_run(
    classifier: Classifier, permit: Permit, protocol: str
) -> None:
    if protocol == "V1":
        read = partial(tf_serving.read, body_of("instances"))
    else:
        read = partial(open_inference.read, "fashion_mnist", body_of("inputs"), None)
    request = prepare(read, classifier, permit)
    np.testing.assert_array_equal(request.images, np.zeros((1, 28, 28, 1), np.float32))
    body, json_length = request.write(classifier.assess(request.images), {})
    assert body.startswith(b'{"predictions' if protocol == "V1" else b'{"model_name')
    assert json_length is None
    assert permit.record.batch == 0
    assert list(permit.record.phases) == ["queue", "decode", "prepare"]


@pytest.mark.parametrize("by_row", [True, False], ids=["rows", "columns"])
def test_a_novelty_that_is_not_a_number_is_written_as_tensorflow_serving_does(
    classifier: Classifier, permit: Permit, by_row: bool
) -> None:
    body = body_of("instances").replace(b"{", b'{"signature_name":"novelty",', 1)
    if not by_row:
        body = body.replace(b'"instances"', b'"inputs"')
    request = tf_serving.read(body, classifier, permit)
    probabilities = np.full((1, 10), np.nan, np.float32)
    answer, _ = request.write(Assessment(probabilities, probabilities[:, 0]), {})
    [table] = json.loads(answer).values()
    assert math.isnan(table[0]["novelty"] if by_row else table["novelty"][0])


def test_every_output_has_the_datatype_and_shape_that_the_metadata_states(
    classifier: Classifier, permit: Permit
) -> None:
    manifest = classifier.manifest
    specs = [
        spec
        for ending in (PICTURES, LAYERS)
        for spec in output_specs(manifest, manifest.name + ending)
    ]
    names = [str(spec["name"]) for spec in specs]
    outputs = infer(reading(request(*names)), classifier, permit)
    for spec, output in zip(specs, outputs, strict=True):
        assert spec == {
            "name": output.name,
            "datatype": output.datatype,
            "shape": (-1, *output.shape[1:]),
        }
        assert len(output.values) == output.shape[0] == 2


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38, -3e38])
@pytest.mark.parametrize("datatype", ["FP32", "FP64"])
def test_a_number_that_makes_the_network_overflow_is_rejected_by_its_place(
    classifier: Classifier, permit: Permit, value: float, datatype: str
) -> None:
    images = np.full((3, 28, 28, 1), 0.5, DTYPES[datatype])
    images[1, 5, 7] = value
    sent = InferenceRequest(
        "fashion_mnist", [NamedTensor("images", datatype, images.shape, images)]
    )
    with pytest.raises(InvalidTensor, match=re.escape(f"images[1][5][7][0]: {value:g} cannot be")):
        infer(reading(sent), classifier, permit)


def test_the_largest_numbers_that_are_accepted_get_probabilities(
    classifier: Classifier, permit: Permit
) -> None:
    images = np.zeros((2, 784), np.float32)
    images[0, 5], images[1, 5] = 1e19, -1e19
    sent = InferenceRequest("fashion_mnist", [NamedTensor("images", "FP32", (2, 784), images)])
    [probabilities] = infer(reading(sent), classifier, permit)
    np.testing.assert_allclose(np.sum(probabilities.values, axis=1), 1, atol=1e-3)


def test_an_overdue_request_is_not_run(classifier: Classifier, permit: Permit) -> None:
    permit.cancel()
    with pytest.raises(DeadlineExceeded):
        infer(reading(request()), classifier, permit)
    assert permit.record.batch == 0


def test_an_unknown_output_is_rejected_before_images_are_read(
    classifier: Classifier, permit: Permit
) -> None:
    with pytest.raises(
        InvalidTensor, match="no output 'x'; the outputs are probabilities, class_id"
    ):
        reading(InferenceRequest("fashion_mnist", [], [RequestedOutput("x")]))(classifier, permit)


def test_layers_of_more_images_than_an_answer_holds_are_rejected(classifier: Classifier) -> None:
    conv = next(layer for layer in classifier.manifest.layers if layer.name == "conv2d_1")
    images = np.zeros((MAX_LAYER_VALUES // math.prod(conv.output_shape) + 1, 28, 28, 1), np.float32)
    outputs = [RequestedOutput(conv.name, is_layer=True)]
    prepare_outputs(outputs, (images[1:], False), classifier, list)
    with pytest.raises(AnswerTooLarge, match=f"the limit is {MAX_LAYER_VALUES}"):
        prepare_outputs(outputs, (images, False), classifier, list)


@pytest.fixture
def confusing(artifact: Artifact, classifier: Classifier) -> Classifier:
    """A version without novelty whose layers have names of other outputs; all are 1, 2, 3…."""
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


def test_layers_may_have_the_names_of_other_outputs(confusing: Classifier, permit: Permit) -> None:
    layers = confusing.manifest.layers
    asked = request()._replace(model="fashion_mnist_layers")
    for sent in (asked, asked._replace(outputs=[RequestedOutput(each.name) for each in layers])):
        answered = infer(reading(sent), confusing, permit)
        assert [(each.name, each.shape) for each in answered] == [
            (layer.name, (2, *layer.output_shape)) for layer in layers
        ]
        assert [np.max(each.values) for each in answered] == [1, 2, 3, 4, 5, 6, 7, 8]
    names = "label", "class_id", "probabilities", "novelty", "in_distribution"
    answered = infer(reading(request(*names)), confusing, permit)
    assert [each.datatype for each in answered] == ["BYTES", "INT64", "FP32", "FP32", "FP32"]
    assert [np.max(each.values) for each in answered[2:]] == [np.float32(0.1), 3, 4]
    ranking = RequestedOutput("probabilities", classification=1)
    [best] = infer(reading(asked._replace(outputs=[ranking])), confusing, permit)
    assert best.values == [b"0.100000:0:T-shirt/top"] * 2


def test_the_signature_of_layers_has_layers_alone(confusing: Classifier, permit: Permit) -> None:
    for signature, expected in (("feature_maps", 8), ("serving_default", np.float32(0.1))):
        body = body_of("instances").replace(b"{", f'{{"signature_name":"{signature}",'.encode(), 1)
        answer = json.loads(infer(partial(tf_serving.read, body), confusing, permit)[0])
        [row, _] = answer["predictions"]
        layers = row if signature == "feature_maps" else {"probabilities": row}
        assert np.float32(layers["probabilities"][0]) == expected
        assert ("label" in layers) is (signature == "feature_maps")


def test_photographs_are_known_by_the_threshold_for_photographs(
    artifact: Artifact, classifier: Classifier, permit: Permit, encode: Encode, boot_png: bytes
) -> None:
    novelty = Novelty(score="", layer="", threshold=-1, photo_threshold=9)
    manifest = artifact.manifest.model_copy(update={"novelty": novelty})
    strict = Classifier(replace(artifact, manifest=manifest), classifier._engine)
    photo = encode(Image.new("RGB", (64, 64), "grey"))
    tensor = NamedTensor("image", "BYTES", (3,), [boot_png, photo, boot_png])
    asked = request("in_distribution")._replace(inputs=[tensor])
    for prepare_as, expected in (
        ("auto", [False, True, False]),
        ("photo", [True, True, True]),
        ("plain", [False, False, False]),
    ):
        sent = asked._replace(prepare=prepare_as)
        [answered] = infer(reading(sent), strict, permit)
        assert np.asarray(answered.values).tolist() == expected
