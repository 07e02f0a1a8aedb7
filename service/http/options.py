"""Options in a query or in the text fields of a form."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from ..errors import InvalidParameter
from ..images.decode import Prepare
from ..model.classifier import Classifier


def _split(value: Any) -> list[str]:
    """Return the items of a repeated or comma-separated parameter."""
    texts = [value] if isinstance(value, str) else value
    return [item.strip() for text in texts for item in text.split(",")]


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
                [nearest] = get_close_matches(name.lower(), cls.model_fields, 1, 0)
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
    """How a picture file becomes the network's input. `auto`: used unchanged if it has the input's
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
