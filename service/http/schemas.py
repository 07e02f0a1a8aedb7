"""The public parameters and JSON, as pydantic models."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated, Any, Literal, Self

import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from ..errors import InvalidParameter
from ..images.decode import Preparation, Prepare
from ..images.steps import StepName
from ..model.artifact import InputSpec, Layer, Novelty, Parameters
from ..model.classifier import Classifier


def _split(value: Any) -> list[str]:
    """Return each item of a repeated or comma-separated parameter once, to limit the work."""
    texts = [value] if isinstance(value, str) else value
    return list(dict.fromkeys(item.strip() for text in texts for item in text.split(",")))


Names = Annotated[tuple[str, ...], BeforeValidator(_split)]


class ModelOptions(BaseModel):
    """Selects a version of the model."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    version: int | None = None
    """Version of the model; the highest by default."""
    version_label: str | None = Field(default=None, min_length=1)
    """Label of a version, instead of its number."""

    @model_validator(mode="before")
    @classmethod
    def _check_names(cls, given: dict[str, Any]) -> dict[str, Any]:
        for name in given:
            if name not in cls.model_fields:
                [nearest] = get_close_matches(name[:99].lower(), cls.model_fields, 1, 0)
                raise InvalidParameter(
                    f"{name}: unknown parameter; did you mean {nearest}? "
                    f"The parameters are {', '.join(cls.model_fields)}"
                )
        return given

    def check(self, classifier: Classifier) -> None:
        """Raise InvalidParameter if the version lacks what the options ask for."""


class ImageOptions(ModelOptions):
    """Selects a version and how images are read."""

    prepare: Prepare = "auto"
    """How an image file becomes the network's input. `auto`: used unchanged if it has the input's
    size, otherwise prepared as a photograph. `photo`: always prepared as a photograph. `plain`:
    only converted to grey and resized. JSON numbers are never changed."""
    scale: float = Field(default=255, ge=1, le=65535)
    """The JSON number for white: 1 if the numbers are in 0…1."""

    def updated(self, fields: Mapping[str, str]) -> Self:
        """Return the options with those of a form, of which the query's take precedence.

        Raises InvalidParameter for an unknown field or an invalid value.
        """
        try:
            return self.model_validate({**fields, **self.model_dump(exclude_unset=True)})
        except InvalidParameter as error:
            raise error.at("a form field without a file (to send one: curl -F a=@a.png)") from error
        except ValidationError as error:
            raise InvalidParameter.first(error.errors()) from error


class _Schema(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class ErrorDetail(_Schema):
    """An error."""

    code: str
    """For programs: does not change when the message is reworded."""
    message: str
    """For people: what is wrong and where."""
    request_id: str
    """Also in the X-Request-ID header and the service's log."""


class ErrorResponse(_Schema):
    """The response to every failed request."""

    error: ErrorDetail


class ProtocolError(_Schema):
    """The error response of both inference protocols."""

    error: str


class ModelVersion(_Schema):
    """The model and version that responded."""

    name: str
    version: int


class RankedClass(_Schema):
    """A class and its probability."""

    label: str
    class_id: int
    probability: float = Field(ge=0, le=1)


class Prediction(_Schema):
    """The model's prediction for one image."""

    label: str
    class_id: int
    confidence: float = Field(ge=0, le=1)
    """Probability of `label`."""
    probabilities: dict[str, float]
    """By class name, in the order of the class ids."""
    novelty: float | None
    """How unlike the training images it is: the entropy of `probabilities`, from 0 to the
    logarithm of the number of classes; null if the model has no novelty score."""
    in_distribution: bool | None
    """Whether `novelty` is at most the model's threshold, as for 95 % of clothing images. If
    false, the other fields mean little."""
    top_k: list[RankedClass] | None = None
    """The most probable classes, best first; only if requested."""
    preparation: Preparation
    """How the image was prepared; `none`: used exactly as sent."""


class PredictResponse(_Schema):
    """A prediction for each image, in the order sent."""

    model: ModelVersion
    predictions: list[Prediction]


class _OfImage(_Schema):
    model: ModelVersion
    preparation: Preparation
    image: list[list[float]]
    """The image as the network sees it: (height, width) in 0…255."""


class LayerMaps(_Schema):
    """The feature maps of one layer."""

    name: str
    type: str
    shape: list[int] = Field(min_length=3, max_length=3)
    """(height, width, channels) of the layer's full output."""
    channels: list[int]
    """The channels of `maps`, in order."""
    maps: list[list[list[float]]]
    """(channels, height, width)."""


class FeatureMapsResponse(_OfImage):
    """The feature maps of the convolution and pooling layers, in network order."""

    layers: list[LayerMaps]


class PreparationStep(_Schema):
    """The image after one step of its preparation."""

    name: StepName
    """`decoded` from the file, a photograph at working size; `cut_out`: background removed;
    `light_on_black`: the garment inverted; `grey`: colours removed; `cropped` to the garment;
    `centred` and `resized` at the network's size."""
    width: int
    height: int
    """In pixels; images with a side over 224 are scaled down here."""
    png: str
    """A PNG file in base64, transparent where the background was removed."""


class PreparationResponse(_OfImage):
    """How an image became the network's input."""

    steps: list[PreparationStep]
    """In order, the last being `image`; empty for JSON numbers, which are not changed."""


class ExplainResponse(_OfImage):
    """How much each place of an image contributes to a class."""

    class_id: int
    label: str
    probability: float = Field(ge=0, le=1)
    """Of that class."""
    heat: list[list[float]]
    """(height, width): the drop in the class's log-odds when this place of `image` is hidden;
    negative where hiding it makes the class more probable."""
    frame: list[float] = Field(min_length=4, max_length=4)
    """Left, top, right and bottom of `image` in the image sent, as fractions of its width and
    height; may lie outside it."""


class LayerWeights(_Schema):
    """A layer with its kernels and biases."""

    model: ModelVersion
    layer: Layer
    channels: list[int]
    """The output channels of `kernels` and `bias`, in order. All three are empty for a layer
    without parameters."""
    kernels: list[list[list[list[float]]]] | list[list[float]]
    """(channels, input channels, height, width) of a convolution, (channels, inputs) of a dense
    layer. An output is the activation of the bias plus the sum of window times kernel over all
    input channels. The first layer's inputs are pixels divided by the input's `scale`."""
    bias: list[float]
    """(channels,)."""


class ModelSummary(_Schema):
    """The served model."""

    name: str
    version: int
    created: str
    engine: str
    precision: Literal["int8", "float32"]
    """Of the weights for probabilities and novelty; feature maps are always float32.
    `scores["parity"]` has each engine's deviation from the trained network."""
    class_names: tuple[str, ...]
    input: InputSpec
    layers: tuple[Layer, ...]
    parameters: Parameters
    novelty: Novelty | None
    """The novelty score of `/predict` and its threshold; null if the model has none."""
    scores: dict[str, Any]
    """Measured at export: accuracy, per class, calibration, novelty, engine parity."""


class Liveness(_Schema):
    """The process runs."""

    status: Literal["live"]
    worker: int
    """The worker that responded, from 0; each reports only its own state."""


class ServerReady(_Schema):
    """Readiness in the form of the Open Inference Protocol."""

    ready: bool


class Readiness(_Schema):
    """The model is loaded."""

    status: Literal["ready"]
    worker: int
    """The worker that responded, from 0; each reports only its own state."""
    model: ModelVersion
    engine: str

    @classmethod
    def of(cls, classifier: Classifier, worker: int) -> Self:
        name, version = classifier.manifest.name, classifier.manifest.version
        model = ModelVersion(name=name, version=version)
        return cls(status="ready", worker=worker, model=model, engine=classifier.engine_name)


def write_answer(classifier: Classifier, fields: Mapping[str, Any]) -> bytes:
    """Return the fields of an answer as JSON, with the model and the version that gave it."""
    manifest = classifier.manifest
    model = {"name": manifest.name, "version": manifest.version}
    return orjson.dumps({"model": model, **fields}, option=orjson.OPT_SERIALIZE_NUMPY)
