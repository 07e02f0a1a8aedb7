"""The public JSON, as pydantic models."""

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from ..images.decode import Preparation
from ..images.steps import StepName
from ..model.artifact import InputSpec, Layer, Novelty, Parameters
from ..model.classifier import Classifier


class _Schema(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class ErrorDetail(_Schema):
    """What went wrong."""

    code: str
    """For programs: stays the same when the message is reworded."""
    message: str
    """For people: what is wrong and where."""
    request_id: str
    """Also in the X-Request-ID header and in the service's log."""


class ErrorResponse(_Schema):
    """Every answer that is not a success."""

    error: ErrorDetail


class ProtocolError(_Schema):
    """An answer that is not a success, as both inference protocols have it."""

    error: str


class ModelVersion(_Schema):
    """Which model answered."""

    name: str
    version: int


class RankedClass(_Schema):
    """A class and its probability."""

    label: str
    class_id: int
    probability: float = Field(ge=0, le=1)


class Prediction(_Schema):
    """What the model says of one picture."""

    label: str
    class_id: int
    confidence: float = Field(ge=0, le=1)
    """Probability of `label`."""
    probabilities: dict[str, float]
    """Of every class, by name, in the order of the class ids."""
    novelty: float | None
    """How unlike the training pictures it is: the entropy of `probabilities`, from 0 to the
    logarithm of the number of classes; null if the model has no such score."""
    in_distribution: bool | None
    """Whether `novelty` is at most the model's threshold, which 95 of 100 pictures of clothes stay
    under. If not, the other fields mean little."""
    top_k: list[RankedClass] | None = None
    """The most probable classes, best first; only if asked for."""
    preparation: Preparation
    """What was done to the picture: `none` is bit for bit what was sent."""


class PredictResponse(_Schema):
    """A prediction for each picture, in the order sent."""

    model: ModelVersion
    predictions: list[Prediction]


class _OfPicture(_Schema):
    model: ModelVersion
    preparation: Preparation
    image: list[list[float]]
    """The picture as the network sees it: (height, width) in 0…255."""


class LayerMaps(_Schema):
    """What one layer makes of a picture."""

    name: str
    type: str
    shape: list[int] = Field(min_length=3, max_length=3)
    """(height, width, channels) of the layer's whole output."""
    channels: list[int]
    """Which channels `maps` holds, in its order."""
    maps: list[list[list[float]]]
    """(channels, height, width)."""


class FeatureMapsResponse(_OfPicture):
    """The maps of the convolution and pooling layers, in the order of the network."""

    layers: list[LayerMaps]


class PreparationStep(_Schema):
    """A picture on its way to the network."""

    name: StepName
    """What was done last: `decoded` is what the file shows, a photograph at the size it is worked
    on; `cut_out` has the ground gone; `light_on_black` is the garment's negative; `grey` has no
    colours; `cropped` has nothing round the garment; `centred` and `resized` have the network's
    size."""
    width: int
    height: int
    """In pixels; a picture that is longer than 224 is drawn smaller here."""
    png: str
    """The picture, a PNG file in base64; transparent where nothing is kept."""


class PreparationResponse(_OfPicture):
    """How a picture became the network's input."""

    steps: list[PreparationStep]
    """In the order done, the last of them `image`; none for JSON numbers, which are not
    touched."""


class ExplainResponse(_OfPicture):
    """What in a picture speaks for a class."""

    class_id: int
    label: str
    probability: float = Field(ge=0, le=1)
    """Of that class."""
    heat: list[list[float]]
    """(height, width): how far the log-odds of the class fall when this place of `image` is hidden;
    negative where that makes the class more probable."""
    frame: list[float] = Field(min_length=4, max_length=4)
    """Left, top, right and bottom of `image` on the picture as it was sent, as shares of its width
    and height; may lie outside of it."""


class LayerWeights(_Schema):
    """A layer with what it learned, one kernel an output channel."""

    model: ModelVersion
    layer: Layer
    channels: list[int]
    """Which output channels `kernels` and `bias` hold, in their order; empty for a layer without
    parameters, as are those."""
    kernels: list[list[list[list[float]]]] | list[list[float]]
    """(channels, input channels, height, width) of a convolution, (channels, inputs) of a dense
    layer. A pixel is the activation of: the sum of window times kernel over all input channels,
    plus the bias. The inputs of the first layer are pixels divided by the input's `scale`."""
    bias: list[float]
    """(channels,)."""


class ModelSummary(_Schema):
    """The model that is being served."""

    name: str
    version: int
    created: str
    engine: str
    precision: Literal["int8", "float32"]
    """Of the weights that give probabilities and novelty; feature maps are always float32.
    `scores["parity"]` says how far each is from the network as it was trained."""
    class_names: tuple[str, ...]
    input: InputSpec
    layers: tuple[Layer, ...]
    parameters: Parameters
    novelty: Novelty | None
    """The score of `/predict`'s novelty and its threshold; null if the model has none."""
    scores: dict[str, Any]
    """Measured when the model was exported: accuracy, per class, calibration, novelty, engine
    parity."""


class Liveness(_Schema):
    """The process runs."""

    status: Literal["live"]
    worker: int
    """Which of the workers answers, from 0: each speaks for itself."""


class ServerReady(_Schema):
    """Whether inference requests are answered, as the Open Inference Protocol has it."""

    ready: bool


class Readiness(_Schema):
    """The model is loaded."""

    status: Literal["ready"]
    worker: int
    """Which of the workers answers, from 0: each speaks for itself."""
    model: ModelVersion
    engine: str

    @classmethod
    def of(cls, classifier: Classifier, worker: int) -> Self:
        name, version = classifier.manifest.name, classifier.manifest.version
        model = ModelVersion(name=name, version=version)
        return cls(status="ready", worker=worker, model=model, engine=classifier.engine_name)
