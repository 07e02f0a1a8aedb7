"""What a query, or the text fields of a form, may say."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from ..errors import InvalidParameter
from ..images.decode import Prepare


def _split(value: Any) -> list[str]:
    """Return what is listed, whether it was repeated or separated by commas."""
    texts = [value] if isinstance(value, str) else value
    return [item.strip() for text in texts for item in text.split(",")]


Names = Annotated[tuple[str, ...], BeforeValidator(_split)]


class ModelOptions(BaseModel):
    """Which version of the model answers."""

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
                    f"{name}: no such parameter, the nearest is {nearest}; "
                    f"they are {', '.join(cls.model_fields)}"
                )
        return given


class ImageOptions(ModelOptions):
    """How images are read."""

    prepare: Prepare = "auto"
    """How a picture file becomes the network's input. `auto`: one that already has its size is
    taken bit for bit, any other is prepared as a photograph. `photo`: always prepared as a
    photograph. `plain`: only turned grey and resized. JSON numbers are never touched."""
    scale: float = Field(default=255, ge=1, le=65535)
    """The number that is white among JSON numbers: 1 if they are in 0…1."""

    def updated(self, fields: Mapping[str, str]) -> Self:
        """Return the options with those of a form; what the query says takes precedence.

        Raises:
            InvalidParameter: A field is not an option, or has a value that the option cannot have.
        """
        try:
            return self.model_validate({**fields, **self.model_dump(exclude_unset=True)})
        except InvalidParameter as error:
            raise error.at("a field of the form, and no file (curl -F a=@a.png)") from error
        except ValidationError as error:
            raise InvalidParameter.first(error.errors()) from error
