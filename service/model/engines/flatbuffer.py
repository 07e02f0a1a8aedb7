"""Reads the weights in a float32 flatbuffer."""

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from ...arrays import Weights

_WEIGHTED = {schema.BuiltinOperator.CONV_2D, schema.BuiltinOperator.FULLY_CONNECTED}


def read_weights(content: bytes, signature: str, layer: str) -> Weights:
    """Return kernel and bias of the layer whose output the signature lists.

    Tensor names depend on the converter, so this walks the graph back from the layer's output to
    its convolution or matrix product.
    """
    model = schema.Model.GetRootAs(content)
    definitions = map(model.SignatureDefs, range(model.SignatureDefsLength()))
    definition = next(d for d in definitions if d.SignatureKey().decode() == signature)
    outputs = map(definition.Outputs, range(definition.OutputsLength()))
    graph = model.Subgraphs(definition.SubgraphIndex())
    operators = map(graph.Operators, range(graph.OperatorsLength()))
    producers = {operator.OutputsAsNumpy()[0]: operator for operator in operators}
    tensors = [next(o.TensorIndex() for o in outputs if o.Name().decode() == layer)]
    for tensor in tensors:
        producer = producers.get(tensor)
        if producer is None:  # the input, or a constant
            continue
        inputs = producer.InputsAsNumpy()
        if model.OperatorCodes(producer.OpcodeIndex()).BuiltinCode() in _WEIGHTED:
            constants = [graph.Tensors(index) for index in inputs[1:3] if index >= 0]
            kernel, *biases = (
                model.Buffers(c.Buffer()).DataAsNumpy().view(np.float32).reshape(c.ShapeAsNumpy())
                for c in constants
            )
            bias = biases[0] if biases else np.zeros(len(kernel), np.float32)
            return Weights(np.moveaxis(kernel, 0, -1), bias)  # LiteRT stores outputs first.
        tensors.extend(inputs)  # a separate activation operator
    raise LookupError(f"layer {layer} has no weights")
