"""A SavedModel as a Keras model again: a layer for each operation that LiteRT compiles it to."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema
from keras import layers

from . import TrainingError
from .batches import predict
from .export import PREDICTION_SIGNATURE, convert, run_flatbuffer

INSTEAD = "publish the .keras or .h5 file that it was made from"
PROBES = 8
TOLERANCE = 1e-4

_OPERATORS = {v: k for k, v in vars(schema.BuiltinOperator).items() if isinstance(v, int)}
_FUSED = {v: k for k, v in vars(schema.ActivationFunctionType).items() if isinstance(v, int)}
_PADDING = {schema.Padding.SAME: "same", schema.Padding.VALID: "valid"}
_ACTIVATIONS = {name.upper(): name for name in ("relu", "relu6", "tanh", "elu", "gelu", "softmax")}
_ACTIVATIONS |= {"LOGISTIC": "sigmoid", "HARD_SWISH": "hard_swish"}
_WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")


def _pooling(layer: Any, options: Any) -> Any:
    size, strides = (options.filterHeight, options.filterWidth), (options.strideH, options.strideW)
    return layer(size, strides, _PADDING[options.padding])


_LAYERS: dict[str, Callable[..., Any]] = {
    "MAX_POOL_2D": lambda options, *_: _pooling(layers.MaxPooling2D, options),
    "AVERAGE_POOL_2D": lambda options, *_: _pooling(layers.AveragePooling2D, options),
    "MEAN": lambda options, *_: layers.GlobalAveragePooling2D(keepdims=options.keepDims),
    "REDUCE_MAX": lambda options, *_: layers.GlobalMaxPooling2D(keepdims=options.keepDims),
    "RESHAPE": lambda _, shape, __: layers.Reshape(shape) if shape[1:] else layers.Flatten(),
    "PAD": lambda _, __, paddings: layers.ZeroPadding2D(paddings[1:3].tolist()),
    "LEAKY_RELU": lambda options, *_: layers.LeakyReLU(options.alpha),
    "ADD": lambda _, __, added: layers.Rescaling(1, added.tolist()),
    "SUB": lambda _, __, taken: layers.Rescaling(1, (-taken).tolist()),
    "MUL": lambda _, __, factor: layers.Rescaling(factor.tolist()),
}
"""By operator, from its options, the shape of its output and its constant."""
_MERGING: dict[str, Callable[[Any], Any]] = {
    "ADD": lambda _: layers.Add(),
    "MUL": lambda _: layers.Multiply(),
    "CONCATENATION": lambda options: layers.Concatenate(options.axis),
}
"""Of several outputs of layers."""


def load(folder: Path) -> Any:
    """Build the Keras model that computes the signature `serving_default` of a SavedModel.

    It has no layers for training, such as dropout, and LiteRT has merged batch normalisation and
    rescaling into the convolutions. An operation without a layer here is a TrainingError.
    """
    try:
        content = convert(folder, [PREDICTION_SIGNATURE], int8_weights=False)
    except TrainingError as error:
        raise TrainingError(f"{error}: {INSTEAD}") from error
    keras.utils.clear_session()  # so that its layers are conv2d, conv2d_1 and so on
    model = _Graph(content).build()
    images = np.random.default_rng(0).random((PROBES, *model.input_shape[1:]), np.float32)
    ((_, outputs),) = run_flatbuffer(content, PREDICTION_SIGNATURE, images)
    (expected,) = outputs.values()
    difference = np.abs(predict(model, images) - expected).max()
    if not difference <= TOLERANCE * max(1, np.abs(expected).max()):
        raise TrainingError(f"{folder}: its layers cannot be told from its operations; {INSTEAD}")
    return model


class _Graph:
    """The operators of a flatbuffer, followed back from its output; tensors go by their number."""

    def __init__(self, content: bytes) -> None:
        self._file: Any = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content))
        self._graph = self._file.subgraphs[0]
        self._maker = {op.outputs[0]: op for op in self._graph.operators}
        self._outputs: dict[int, Any] = {}

    def build(self) -> Any:
        sources, results = self._graph.inputs, self._graph.outputs
        if (len(sources), len(results)) != (1, 1):
            counts = f"{len(sources)} inputs and {len(results)} outputs"
            raise TrainingError(f"the SavedModel has {counts}; one of each can be served")
        if min(shape := self._shape(sources[0])) < 1:
            raise TrainingError("the SavedModel takes images of any size; one size can be served")
        image = self._outputs[sources[0]] = keras.Input(shape)
        return keras.Model(image, self._output(results[0]))

    def _output(self, tensor: int) -> Any:
        if tensor not in self._outputs:
            operator = self._maker.get(tensor)
            try:
                self._outputs[tensor] = self._apply(operator)
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                name = self._name(operator) if operator else "of a constant"
                unknown = f"no layer is known for an operation {name}"
                raise TrainingError(f"{unknown}: {INSTEAD}") from error
        return self._outputs[tensor]

    def _apply(self, operator: Any, activation: str | None = None) -> Any:
        """Return the output of an operator, together with the activation that follows it."""
        name, source, options = self._name(operator), operator.inputs[0], operator.builtinOptions
        if name in _ACTIVATIONS:
            maker = self._maker.get(source)
            readers = sum(source in other.inputs for other in self._graph.operators)
            if maker and self._name(maker) in _WEIGHTED and readers == 1:
                return self._apply(maker, _ACTIVATIONS[name])
            return layers.Activation(_ACTIVATIONS[name])(self._output(source))
        taken = self._output(source)  # first, since Keras numbers layers as they are made
        activation = _ACTIVATIONS.get(
            _FUSED[getattr(options, "fusedActivationFunction", 0)], activation
        )
        constants = [self._constant(tensor) for tensor in operator.inputs[1:]]
        if name in _WEIGHTED:
            kernel, bias = constants
            layer, kernel = _weighted(name, options, kernel, taken.shape[-1])
            layer.activation = keras.activations.get(activation)
            output = layer(taken)
            layer.set_weights([kernel, np.zeros(output.shape[-1]) if bias is None else bias])
            return output
        if name in _MERGING and all(constant is None for constant in constants):
            others = [self._output(tensor) for tensor in operator.inputs[1:]]
            output = _MERGING[name](options)([taken, *others])
        else:
            shape = self._shape(operator.outputs[0])
            output = _LAYERS[name](options, shape, (constants or [None])[0])(taken)
        return layers.Activation(activation)(output) if activation else output

    def _name(self, operator: Any) -> Any:
        return _OPERATORS[self._file.operatorCodes[operator.opcodeIndex].builtinCode]

    def _shape(self, tensor: int) -> tuple[int, ...]:
        described = self._graph.tensors[tensor]
        is_open = described.shapeSignature is not None
        return tuple(map(int, (described.shapeSignature if is_open else described.shape)[1:]))

    def _constant(self, tensor: int) -> npt.NDArray[Any] | None:
        described = self._graph.tensors[tensor]
        data = self._file.buffers[described.buffer].data
        if tensor < 0 or data is None:
            return None
        kind = np.int32 if described.type == schema.TensorType.INT32 else np.float32
        return np.asarray(data, np.uint8).view(kind).reshape(described.shape)


def _weighted(name: str, options: Any, kernel: Any, channels: int) -> tuple[Any, Any]:
    """Return a layer of `channels` inputs, and its kernel in the order of Keras."""
    if name == "FULLY_CONNECTED":
        return layers.Dense(len(kernel)), kernel.T
    outputs, *size, depth = kernel.shape
    where = {"strides": (options.strideH, options.strideW), "padding": _PADDING[options.padding]}
    if name == "CONV_2D":
        layer = layers.Conv2D(outputs, size, groups=channels // depth, **where)
        return layer, kernel.transpose(1, 2, 3, 0)
    each = depth // channels
    layer = layers.DepthwiseConv2D(size, depth_multiplier=each, **where)
    return layer, kernel.reshape(*size, channels, each)
