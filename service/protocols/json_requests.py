"""JSON requests of the protocols; numbers, where they are pictures, come as one array."""

from math import prod
from typing import Any

from service.protocols.json_parsing import JsonLimits, parse_json
from service.protocols.json_arrays import Shape, parse_with_numbers

_FLOATS = {"FP32", "FP64"}


def parse_inference(text: bytes, image: Shape, limits: JsonLimits) -> Any:
    """Parse a request of the Open Inference Protocol.

    Args:
        text: JSON in UTF-8.
        image: (height, width, channels) that the model takes.
        limits: What parsing may cost.

    Returns:
        The document. The `data` of an only input are an array if they are numbers, flat or nested
        as pictures are: uint64, or float64 if that is what the input is of.

    Raises:
        InvalidJSON: `text` is not JSON, or nests too deeply.
        BodyTooLarge: It has too many marks.
    """
    parsed = parse_with_numbers(text, "data", [(), *_shapes(image)], limits)
    if parsed is not None:
        document, numbers = parsed
        match document:
            case {"inputs": [{"data": [], "datatype": datatype} as tensor]}:
                # Below zero, whole numbers come as floats.
                if numbers.dtype.kind == "u" or datatype in _FLOATS:
                    tensor["data"] = numbers
                    return document
    return parse_json(text, limits)


def parse_predict(text: bytes, image: Shape, limits: JsonLimits) -> Any:
    """Parse a predict request of TensorFlow Serving; arguments and errors are as above.

    Returns:
        The document. Its `instances` or `inputs` are an array, uint64 or float64, if they are
        numbers nested as pictures are.
    """
    for field in ("instances", "inputs"):
        parsed = parse_with_numbers(text, field, _shapes(image), limits)
        if parsed is not None:
            document, numbers = parsed
            if isinstance(document, dict) and document.get(field) == []:
                document[field] = numbers
                return document
    return parse_json(text, limits)


def _shapes(image: Shape) -> list[Shape]:
    return [image, image[:-1], (prod(image),)]
