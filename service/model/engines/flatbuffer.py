"""The weights in a float32 flatbuffer, found by following its graph back from a layer's output."""

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from service.arrays import Tensor, Weights

_WEIGHTED = {schema.BuiltinOperator.CONV_2D, schema.BuiltinOperator.FULLY_CONNECTED}


class WeightReader:
    """Reads what each layer of one signature multiplies with.

    A converter names tensors as it likes; that a layer's output comes out of its convolution or
    matrix product holds for all of them.
    """

    def __init__(self, content: bytes, signature: str) -> None:
        self._model = schema.Model.GetRootAs(content)
        definitions = map(self._model.SignatureDefs, range(self._model.SignatureDefsLength()))
        definition = next(d for d in definitions if d.SignatureKey().decode() == signature)
        outputs = map(definition.Outputs, range(definition.OutputsLength()))
        self._outputs = {o.Name().decode(): o.TensorIndex() for o in outputs}
        self._graph = self._model.Subgraphs(definition.SubgraphIndex())
        operators = map(self._graph.Operators, range(self._graph.OperatorsLength()))
        self._producers = {o.OutputsAsNumpy()[0]: o for o in operators}

    def read(self, layer: str) -> Weights:
        """Return kernel and bias of the layer that has this output, which must have some."""
        waiting = [self._outputs[layer]]
        while waiting:
            producer = self._producers.get(waiting.pop(0))
            if producer is None:  # the input, or a constant
                continue
            inputs = producer.InputsAsNumpy()
            if self._model.OperatorCodes(producer.OpcodeIndex()).BuiltinCode() in _WEIGHTED:
                kernel, bias = (self._constant(tensor) for tensor in inputs[1:3])
                # LiteRT has the outputs first, Keras last.
                return Weights(np.moveaxis(kernel, 0, -1), bias)
            waiting.extend(inputs)  # an activation that is an operator of its own
        raise LookupError(f"nothing is multiplied on the way to {layer}")

    def _constant(self, index: int) -> Tensor:
        tensor = self._graph.Tensors(index)
        values = self._model.Buffers(tensor.Buffer()).DataAsNumpy()
        return np.asarray(values.view(np.float32).reshape(tensor.ShapeAsNumpy()))
