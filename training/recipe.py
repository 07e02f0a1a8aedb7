"""What is trained and how: the settings that decide the weights."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

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
    """Stride of the pooling; the pool size by default."""
    pool_padding: Padding = "valid"
    """Padding of the pooling."""

    def steps(self, side: int, axis: int = 0) -> Iterator[tuple[int, str]]:
        """Yield the side of a map after the convolution, then the pooling, and its arithmetic.

        Ten pixels under a kernel of three, stride one, valid, become eight, and less than one where
        the window is larger than a valid-padded map.
        """
        layers = [("conv", self.kernel_size, self.strides, self.padding)]
        if self.pooling != "none":
            strides = self.pool_strides or self.pool_size
            layers.append((f"{self.pooling} pooling", self.pool_size, strides, self.pool_padding))
        for kind, *sizes, padding in layers:
            window, stride = (size if isinstance(size, int) else size[axis] for size in sizes)
            output, formula = (side - window) // stride + 1, f"floor(({side}-{window})/{stride})+1"
            if padding == "same":
                output, formula = -(-side // stride), f"ceil({side}/{stride})"
            yield output, f"{kind} {window} {padding}, stride {stride}: {formula} = {output}"
            side = output


class Network(_Group):
    """The network: convolution blocks, then one dense layer, dropout and the softmax."""

    blocks: Annotated[tuple[Block, ...], Field(min_length=1)] = (Block(), Block(filters=64))
    """The convolution blocks in order, as JSON: [{"filters": 32}, {"filters": 64,
    "kernel_size": [5, 3], "activation": "relu", "padding": "valid", "strides": 1, "pooling":
    "average", "pool_size": 3, "pool_strides": 2, "pool_padding": "same"}]. The
    default of each key: filters 32, kernel_size 3, activation relu, padding same, strides 1,
    pooling max (or average, none), pool_size 2, pool_strides as pool_size, pool_padding valid."""
    dense_units: Count = 100
    """Units of the dense layer after the blocks."""
    dense_activation: Activation = "relu"
    """Activation of the dense layer."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.4
    """Share of the dense layer's outputs dropped during training."""

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
    """Images per step."""
    epochs: Count = 20
    """Maximum epochs; early stopping usually ends sooner."""
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.001
    """Learning rate of Adam, or the peak of the cosine schedule."""
    schedule: Literal["constant", "cosine"] = "constant"
    """Learning-rate schedule: cosine warms up over the first tenth and decays to zero."""
    weight_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decoupled weight decay (AdamW) of kernels and dense weights."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of each label that is spread over all classes."""
    patience: Count = 2
    """Epochs without a lower validation loss before training stops."""
    keep: Literal["best", "last"] = "best"
    """Weights to keep: of the epoch with the lowest validation loss, or of the last epoch."""
    seed: Seed = 42
    """Seed of the initial weights, the shuffling, the augmentation and the dropout."""
    split_seed: Seed = 42
    """Seed of the split into training and validation images."""
    validation_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Share of the training images held out for validation."""
    calibrate: bool = False
    """Calibrate confidences on the validation images, by temperature scaling of the last layer."""
    stratify: bool = False
    """Give training and validation images the same share of each class."""


class Augmentation(_Group):
    """Random changes to the training images, drawn anew every epoch."""

    flip: bool = False
    """Flip half of the images horizontally."""
    shift: Annotated[int, Field(ge=0, lt=IMAGE_SIDE)] = 0
    """Maximum shift along each axis, in pixels."""
    rotate: Annotated[float, Field(ge=0, le=180)] = 0.0
    """Maximum rotation, in degrees."""
    zoom: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Maximum relative change of height and of width, independently."""
    brightness: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Maximum relative change of brightness; black stays black."""
    erase: Share = 0.0
    """Share of the images in which a random rectangle is replaced by noise."""


class Photographs(_Group):
    """Photographs taken at home, prepared by the service, in each batch."""

    share: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of photographs in a batch; 0 for none."""
    weight: Share = 0.3
    """Share of the photographs in the loss."""
    without_class: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Photographs of none of the classes, relative to those of one kind of clothes. Their target is
    the uniform distribution."""
    augmentation: Augmentation = Augmentation()
    """Augmentation of the photographs."""


class Start(_Group):
    """Weights and predictions of earlier versions of the network; see assets/README.md."""

    weights: bool = False
    """Start from the weights of version 2 instead of random ones."""
    answers: Share = 0.0
    """Share of the predictions of versions 1 and 2 in the targets; the rest is the label."""


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
