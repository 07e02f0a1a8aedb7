"""How large a feature map is: the arithmetic of convolution and pooling along one axis."""

from typing import Literal, NamedTuple

Padding = Literal["same", "valid"]


class Step(NamedTuple):
    """One layer's effect on the side of a square map."""

    layer: str
    output: int
    arithmetic: str


def output_size(size: int, window: int, stride: int, padding: Padding) -> int:
    """Compute the output positions of a window along one axis.

    Ten inputs under a kernel of three, stride one, valid, give eight outputs.

    Args:
        size: inputs along the axis, at least 1.
        window: kernel or pool size, at least 1.
        stride: distance between two windows, at least 1.
        padding: "same" gives ⌈size / stride⌉, "valid" ⌊(size − window) / stride⌋ + 1.

    Returns:
        The number of outputs; below 1 where the window is larger than a valid-padded input.
    """
    if padding == "same":
        return -(-size // stride)
    return (size - window) // stride + 1


def step(kind: str, size: int, window: int, stride: int, padding: Padding) -> Step:
    """Compute one layer's output size and spell its arithmetic out.

    Args:
        kind: what to call the layer, such as "conv" or "max pooling".
        size: side of the square map that enters.
        window: kernel or pool size.
        stride: distance between two windows.
        padding: "same" or "valid".

    Returns:
        The step, for example ("conv 5x5 valid, stride 1", -1, "floor((3-5)/1)+1 = -1").
    """
    output = output_size(size, window, stride, padding)
    formula = (
        f"ceil({size}/{stride})" if padding == "same" else f"floor(({size}-{window})/{stride})+1"
    )
    layer = f"{kind} {window}x{window} {padding}, stride {stride}"
    return Step(layer, output, f"{formula} = {output}")
