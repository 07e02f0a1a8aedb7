"""TensorFlow Serving's PredictionService: predictions and signatures."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.json_format import ParseDict

from ...capacity.admission import Permit
from ...errors import InvalidTensor
from ...model.classifier import Classifier
from ...model.repository import Repository
from .. import inference, tf_serving
from ..inference import Images, PreparedRequest
from ..tensors import BYTES, NamedTensor, read_values, to_raw, typed_values
from . import tf_serving_pb2 as pb
from .messages import parse

# Of PredictRequest; see `messages.Fields`.
_FIELDS = {2: {2: {2: {}, 5: 4, 6: 8, 7: 1, 10: 1, 13: 1, 16: 1, 17: 1}}}

_DATATYPES = {
    pb.DT_FLOAT: ("FP32", "float_val"),
    pb.DT_DOUBLE: ("FP64", "double_val"),
    pb.DT_INT8: ("INT8", "int_val"),
    pb.DT_INT16: ("INT16", "int_val"),
    pb.DT_INT32: ("INT32", "int_val"),
    pb.DT_INT64: ("INT64", "int64_val"),
    pb.DT_UINT8: ("UINT8", "int_val"),
    pb.DT_UINT16: ("UINT16", "int_val"),
    pb.DT_UINT32: ("UINT32", "uint32_val"),
    pb.DT_UINT64: ("UINT64", "uint64_val"),
    pb.DT_STRING: (BYTES, "string_val"),
}


def predict(body: bytes, repository: Repository, permit: Permit) -> bytes:
    """Answer a PredictRequest."""
    request = parse(pb.PredictRequest, body, _FIELDS, permit.limits)
    classifier = _find(repository, request.model_spec)
    return bytes(inference.infer(partial(_read, request), classifier, permit).SerializeToString())


def metadata(body: bytes, repository: Repository, permit: Permit) -> bytes:
    """Answer a GetModelMetadataRequest; signatures are the only metadata there is."""
    request = parse(pb.GetModelMetadataRequest, body, {}, permit.limits)
    classifier = _find(repository, request.model_spec)
    manifest = classifier.manifest
    document: Any = tf_serving.metadata(classifier)["metadata"]
    signatures = AnyMessage(
        type_url="type.googleapis.com/tensorflow.serving.SignatureDefMap",
        value=ParseDict(document["signature_def"], pb.SignatureDefMap()).SerializeToString(),
    )
    spec = pb.ModelSpec(name=manifest.name, version={"value": manifest.version})
    answer = pb.GetModelMetadataResponse(model_spec=spec, metadata={"signature_def": signatures})
    return bytes(answer.SerializeToString())


def _find(repository: Repository, spec: pb.ModelSpec) -> Classifier:
    label, version = spec.version_label, None
    if spec.HasField("version"):
        version = str(spec.version.value)
    elif label.isdecimal() and label not in repository.labels:
        label, version = "", label  # Triton's perf_analyzer sends versions as labels.
    return repository.find_servable(spec.name, version, label or None)


def _read(
    request: pb.PredictRequest, classifier: Classifier, permit: Permit
) -> PreparedRequest[pb.PredictResponse]:
    permit.record.record_phase("decode")
    spec = request.model_spec
    outputs = tf_serving.signature_outputs(spec.signature_name, classifier)
    names = [output.name for output in outputs]
    wanted = set(request.output_filter or names)
    if unknown := wanted - set(names):
        raise InvalidTensor(f"no output {min(unknown)!r}; there is {', '.join(names)}")

    def write(sent: Sequence[NamedTensor]) -> pb.PredictResponse:
        spec.version.value = classifier.manifest.version
        written = {tensor.name: _write(tensor) for tensor in sent}
        return pb.PredictResponse(model_spec=spec, outputs=written)

    images = _to_images(request.inputs, classifier, permit)
    outputs = [output for output in outputs if output.name in wanted]
    return inference.prepare_outputs(outputs, images, classifier, write)


def _write(tensor: NamedTensor) -> pb.TensorProto:
    shape = {"dim": [{"size": size} for size in tensor.values.shape]}
    content = bytes(to_raw(tensor.values))
    return pb.TensorProto(dtype=pb.DT_FLOAT, tensor_shape=shape, tensor_content=content)


def _to_images(
    inputs: Mapping[str, pb.TensorProto], classifier: Classifier, permit: Permit
) -> Images:
    name = classifier.manifest.input.name
    if inputs.keys() != {name}:
        raise InvalidTensor(f"the inputs are {sorted(inputs)[:8]}, expected {name}")
    sent = inputs[name]
    if sent.dtype not in _DATATYPES:
        expected = ", ".join(map(pb.DataType.Name, _DATATYPES))
        raise InvalidTensor(f"{name}: dtype {sent.dtype}, expected one of {expected}")
    datatype, field = _DATATYPES[sent.dtype]
    shape = tuple(dim.size for dim in sent.tensor_shape.dim)
    data = sent.tensor_content or typed_values(getattr(sent, field), datatype)
    try:
        values = read_values(data, datatype, shape)
    except InvalidTensor as error:
        raise error.at(name) from error
    to_images = inference.files_to_images if datatype == BYTES else inference.numbers_to_images
    return to_images(NamedTensor(name, values), classifier, permit)


METHODS = {
    "tensorflow.serving.PredictionService/Predict": predict,
    "tensorflow.serving.PredictionService/GetModelMetadata": metadata,
}
