"""What is trained and how: the settings that decide the weights."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from training.shapes import Padding, Step, step

IMAGE_SIDE = 28

Activation = Literal[
    "elu", "gelu", "leaky_relu", "linear", "relu", "selu", "sigmoid", "silu", "softplus", "tanh"
]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]


class _Group(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Block(_Group):
    """One convolution and the pooling after it."""

    filters: Count = 32
    """Number of filters, and so of feature maps."""
    kernel_size: Count = 3
    """Side of the square kernel."""
    activation: Activation = "relu"
    """Activation of the convolution."""
    padding: Padding = "same"
    """Padding of the convolution: same adds a border, valid adds none."""
    strides: Count = 1
    """Stride of the convolution along both axes."""
    pooling: Literal["max", "average", "none"] = "max"
    """Pooling after the convolution."""
    pool_size: Count = 2
    """Side of the square pooling window, and its stride."""

    def steps(self, side: int) -> Iterator[Step]:
        """Yield what the convolution, then the pooling, makes of a square map of this side."""
        conv = step("conv", side, self.kernel_size, self.strides, self.padding)
        yield conv
        if self.pooling != "none":
            kind = f"{self.pooling} pooling"
            yield step(kind, conv.output, self.pool_size, self.pool_size, "valid")


class Network(_Group):
    """The network: convolution blocks, then one dense layer, dropout and the softmax."""

    blocks: Annotated[tuple[Block, ...], Field(min_length=1)] = (Block(), Block(filters=64))
    """The convolution blocks in order, as JSON: [{"filters": 32}, {"filters": 64,
    "kernel_size": 5, "activation": "relu", "padding": "valid", "strides": 1, "pooling": "average",
    "pool_size": 2}]. A block may leave anything out; its defaults are filters 32, kernel_size 3,
    activation relu, padding same, strides 1, pooling max (or average, or none), pool_size 2."""
    dense_units: Count = 100
    """Units of the dense layer after the blocks."""
    dense_activation: Activation = "relu"
    """Activation of that dense layer."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.4
    """Share of the dense layer's outputs dropped while training."""

    @model_validator(mode="after")
    def _maps_keep_a_size(self) -> "Network":
        side, trail = IMAGE_SIDE, []
        for number, block in enumerate(self.blocks, start=1):
            for layer, output, arithmetic in block.steps(side):
                trail.append(f"block {number}: {layer}: {arithmetic}")
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
    batch_normalization: bool = False
    """Normalise what each layer but the last puts out while training. It is folded into the
    weights afterwards: the network that is published has none."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of each label that is spread over all classes."""
    patience: Count = 2
    """Epochs without a lower validation loss before training stops."""
    keep: Literal["best", "last"] = "best"
    """Which weights are kept: those of the epoch with the lowest validation loss, or the last. At
    the end of a schedule a network is right most often, if also too sure: see calibrate."""
    seed: Seed = 42
    """Seed of the first weights, the order of the images, their changes and the dropout."""
    split_seed: Seed = 42
    """Seed of the split into training and validation images."""
    validation_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Share of the training images held out for validation."""
    mixed_precision: bool = False
    """Compute in bfloat16, with weights in float32, if the processor has instructions for it:
    AVX512_BF16 or AMX. Else nothing changes."""
    calibrate: bool = False
    """Scale the last layer by a temperature, so that confidences are those of the validation."""
    stratify: bool = False
    """Keep the share of each class equal in the training and the validation images."""


class Augmentation(_Group):
    """What is done to the training images of each batch, drawn anew every epoch."""

    flip: bool = False
    """Mirror half of the images."""
    shift: Annotated[int, Field(ge=0, lt=IMAGE_SIDE)] = 0
    """Most pixels an image is shifted by along each axis."""
    erase: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the images of which a rectangle is filled with noise."""
    photo_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of each batch made to look like prepared photographs, instead of the above."""

    @property
    def any(self) -> bool:
        """Whether anything is done at all."""
        return self.flip or self.shift > 0 or self.erase > 0 or self.photo_share > 0


class Teacher(_Group):
    """The larger networks that the network learns from."""

    width: Count = 64
    """Number of filters of its first maps; the last ones have four times as many."""
    fit: Fit = Fit()
    """Its training, but for the split: that is the network's own."""
    validation_fraction: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share of the training images held out from it, if more than from the network. Those in
    between only the network learns from, and any teacher can answer."""
    augmentation: Augmentation | None = None
    """What is done to the images it learns from, anew every epoch, if it is not the views that it
    learns from."""


class Distillation(_Group):
    """Learning from teachers' answers instead of the labels.

    Hinton, Vinyals and Dean 2015, Distilling the Knowledge in a Neural Network,
    https://arxiv.org/abs/1503.02531.
    """

    teacher: Teacher = Teacher()
    """Who answers."""
    folds: Annotated[int, Field(ge=2)] = 5
    """The training images are dealt into so many folds, and each has a teacher that learns from all
    other folds and answers this one: no teacher is asked about an image it was taught with."""
    rounds: Count = 1
    """The images are dealt so many times, for other teachers each time, and the views are answered
    by the teachers of one round in turn."""
    views: Count = 16
    """Changed views of the training images, which the teachers' epochs take turns with, and the
    network's."""
    mirror: Literal["asked", "shown"] = "asked"
    """What is done with the mirror images of views, if flips are among the changes. asked: the
    teachers answer them too, and the mean of both answers is learnt. shown: every second time that
    a view comes round, the network is shown its mirror image, with the same answer."""
    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    """What the teachers' logits are divided by: the higher, the more their doubts count."""
    label_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the label in what is learnt: the rest is what the teachers answer."""


class TeacherRecipe(_Group):
    """Everything that, with the data, decides the weights of a teacher and its answers."""

    width: Count
    fit: Fit
    folds: Count
    fold: Annotated[int, Field(ge=0)]
    """The one it does not learn from."""
    rounds: Count = 1
    round: Annotated[int, Field(ge=0)] = 0
    """The one its fold is of."""
    views: Count
    mirror: Literal["asked", "shown"] = "asked"
    augmentation: Augmentation
    """Of the views."""
    own_augmentation: Augmentation | None = None
    """Of what it learns from, if it is not the views."""
    network_validation_fraction: float | None = None
    """What is held out from the network, if it is less: it says which images are in the views."""

    @property
    def number(self) -> int:
        """Its number among all teachers."""
        return self.round * self.folds + self.fold


class Recipe(_Group):
    """Everything that, with the data, decides the weights."""

    network: Network = Network()
    fit: Fit = Fit()
    augmentation: Augmentation = Augmentation()
    distillation: Distillation | None = None

    @property
    def teachers(self) -> tuple[TeacherRecipe, ...]:
        """The recipes of the teachers, one of each fold of each round."""
        if self.distillation is None:
            return ()
        distillation, teacher = self.distillation, self.distillation.teacher
        # Of the same split: no teacher has seen the images that the network is validated with.
        split = self.fit.model_dump(include={"split_seed", "validation_fraction", "stratify"})
        spares = teacher.validation_fraction is not None
        if spares:
            split["validation_fraction"] = teacher.validation_fraction
        return tuple(
            TeacherRecipe(
                width=teacher.width,
                fit=teacher.fit.model_copy(update=split),
                folds=distillation.folds,
                fold=fold,
                rounds=distillation.rounds,
                round=number,
                views=distillation.views,
                mirror=distillation.mirror,
                augmentation=self.augmentation,
                own_augmentation=teacher.augmentation,
                network_validation_fraction=self.fit.validation_fraction if spares else None,
            )
            for number in range(distillation.rounds)
            for fold in range(distillation.folds)
        )
