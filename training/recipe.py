"""What is trained and how: the settings that decide the weights."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, model_validator

IMAGE_SIDE = 28

Activation = Literal[
    "elu", "gelu", "leaky_relu", "linear", "relu", "selu", "sigmoid", "silu", "softplus", "tanh"
]
Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Padding = Literal["same", "valid"]
Size = Count | tuple[Count, Count]
"""One number for both axes, or (height, width)."""


class Step(NamedTuple):
    """One layer's effect on a map along one axis, and its arithmetic in words."""

    output: int
    arithmetic: str


def output_size(size: int, window: int, stride: int, padding: Padding) -> int:
    """Compute the output positions of a kernel or pool along one axis of a map.

    Ten inputs under a kernel of three, stride one, valid, give eight outputs; less than one where
    the window is larger than a valid-padded input.
    """
    if padding == "same":
        return -(-size // stride)
    return (size - window) // stride + 1


class _Group(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Block(_Group):
    """One convolution and the pooling after it."""

    filters: Count = 32
    """Number of filters, and so of feature maps."""
    kernel_size: Size = 3
    """Side of the kernel, or its height and width."""
    activation: Activation = "relu"
    """Activation of the convolution."""
    padding: Padding = "same"
    """Padding of the convolution: same adds a border, valid adds none."""
    strides: Size = 1
    """Stride of the convolution."""
    pooling: Literal["max", "average", "none"] = "max"
    """Pooling after the convolution."""
    pool_size: Size = 2
    """Side of the pooling window, or its height and width."""
    pool_strides: Size | None = None
    """Stride of the pooling; that of its window where it is not given."""
    pool_padding: Padding = "valid"
    """Padding of the pooling."""

    def steps(self, side: int, axis: int = 0) -> Iterator[Step]:
        """Yield what the convolution, then the pooling, makes of a map of this side."""
        layers = [("conv", self.kernel_size, self.strides, self.padding)]
        if self.pooling != "none":
            strides = self.pool_strides or self.pool_size
            layers.append((f"{self.pooling} pooling", self.pool_size, strides, self.pool_padding))
        for kind, *sizes, padding in layers:
            window, stride = (size if isinstance(size, int) else size[axis] for size in sizes)
            output = output_size(side, window, stride, padding)
            formula = f"floor(({side}-{window})/{stride})+1"
            if padding == "same":
                formula = f"ceil({side}/{stride})"
            yield Step(output, f"{kind} {window} {padding}, stride {stride}: {formula} = {output}")
            side = output


class Network(_Group):
    """The network: convolution blocks, then one dense layer, dropout and the softmax."""

    blocks: Annotated[tuple[Block, ...], Field(min_length=1)] = (Block(), Block(filters=64))
    """The convolution blocks in order, as JSON: [{"filters": 32}, {"filters": 64,
    "kernel_size": [5, 3], "activation": "relu", "padding": "valid", "strides": 1, "pooling":
    "average", "pool_size": 3, "pool_strides": 2, "pool_padding": "same"}]. A block may leave
    anything out; its defaults are filters 32, kernel_size 3, activation relu, padding same,
    strides 1, pooling max (or average, or none), pool_size 2, pool_strides as pool_size,
    pool_padding valid."""
    dense_units: Count = 100
    """Units of the dense layer after the blocks."""
    dense_activation: Activation = "relu"
    """Activation of that dense layer."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.4
    """Share of the dense layer's outputs dropped while training."""

    @model_validator(mode="after")
    def _maps_keep_a_size(self) -> "Network":
        for axis in (0, 1):
            side, trail = IMAGE_SIDE, []
            for number, block in enumerate(self.blocks, start=1):
                for output, arithmetic in block.steps(side, axis):
                    trail.append(f"block {number}: {arithmetic}")
                    if output < 1:
                        raise ValueError(f"the maps shrink to nothing: {'; '.join(trail)}")
                    side = output
        return self


class Fit(_Group):
    """The training."""

    batch_size: Count = 32
    """Images a step."""
    epochs: Count = 20
    """Most passes over the training images; early stopping usually ends sooner."""
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.001
    """Step size of Adam, or the highest one of a schedule."""
    schedule: Literal["constant", "cosine"] = "constant"
    """How the step size changes: cosine rises over the first tenth and falls to nothing."""
    weight_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Weight decay, decoupled as in AdamW, of kernels and dense weights."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of each label that is spread over all classes."""
    patience: Count = 2
    """Epochs without a lower validation loss before training stops."""
    keep: Literal["best", "last"] = "best"
    """Which weights are kept: those of the epoch with the lowest validation loss, or the last."""
    seed: Seed = 42
    """Seed of the first weights, the order of the images, their changes and the dropout."""
    split_seed: Seed = 42
    """Seed of the split into training and validation images."""
    validation_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Share of the training images held out for validation."""
    calibrate: bool = False
    """Scale the last layer by a temperature, so that confidences are those of the validation."""
    stratify: bool = False
    """Keep the share of each class equal in the training and the validation images."""


class Augmentation(_Group):
    """Random changes to the training images, drawn anew every epoch."""

    flip: bool = False
    """Mirror half of the images."""
    shift: Annotated[int, Field(ge=0, lt=IMAGE_SIDE)] = 0
    """Most pixels an image is shifted by along each axis."""
    rotate: Annotated[float, Field(ge=0, le=180)] = 0.0
    """Most degrees an image is rotated by."""
    zoom: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Most by which height and width, each for itself, grow or shrink."""
    brightness: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Most by which the light of an image grows or shrinks; black stays black."""
    erase: Share = 0.0
    """Share of the images of which a rectangle is filled with noise."""


class Photographs(_Group):
    """Photographs taken at home, prepared by the service, in each batch."""

    share: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the images of a batch that are photographs; without photographs 0."""
    weight: Share = 0.3
    """Share of the loss that they have."""
    without_class: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """How often photographs that show none of the classes are among them, beside those of one
    class. The answer to them is to be all classes alike."""
    augmentation: Augmentation = Augmentation()
    """Random changes to them."""


class Start(_Group):
    """What earlier versions of the network leave to the training; see assets/README.md."""

    weights: bool = False
    """Begin with the weights of version 2 instead of random ones."""
    answers: Share = 0.0
    """Share of the answers of versions 1 and 2 to the training images in the targets; the rest is
    the label."""


class Recipe(_Group):
    """Everything that, with the data, decides the weights."""

    network: Network = Network()
    fit: Fit = Fit()
    augmentation: Augmentation = Augmentation()
    photographs: Photographs = Photographs()
    start: Start = Start()


def differences(one: Any, other: Any, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield the name and both values of each setting in which two dumped recipes differ."""
    for name, value in one.items():
        if isinstance(value, dict):
            yield from differences(value, other[name], f"{prefix}{name}.")
        elif value != other[name]:
            yield prefix + name, value, other[name]
