"""Every setting of training, defined once for the TOML file, the environment and the command line.

This module imports neither TensorFlow nor NumPy, so that a wrong setting is refused at once.
"""

import os
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    CliSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from training.errors import TrainingError
from training.shapes import Padding, Step, step

IMAGE_SIDE = 28
ENVIRONMENT_PREFIX = "FASHION_TRAINING_"

Activation = Literal[
    "elu", "gelu", "leaky_relu", "linear", "relu", "selu", "sigmoid", "silu", "softplus", "tanh"
]
Count = Annotated[int, Field(ge=1)]


class ConfigurationError(TrainingError):
    """A setting is unknown, out of range or impossible; the message is one sentence for people."""


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
    """Step size of Adam."""
    patience: Count = 2
    """Epochs without a lower validation loss before training stops."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 42
    """Seed of the split, the first weights, the order of the images and the dropout."""
    validation_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Share of the training images held out for validation."""
    stratify: bool = False
    """Keep the share of each class equal in the training and the validation images."""


class _TomlFile(PydanticBaseSettingsSource):
    """The file that `config` names, less the settings that only another command reads."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        raise NotImplementedError  # __call__ reads the whole file at once

    def __call__(self) -> dict[str, Any]:
        path = self.current_state.get("config")
        if path is None:
            return {}
        try:
            settings = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"{path} cannot be read as TOML: {error}") from error
        _refuse_unknown(settings, where=f"{path} has")
        return {key: settings[key] for key in settings if key in self.settings_cls.model_fields}


class Settings(BaseSettings):
    """What every command reads."""

    model_config = SettingsConfigDict(
        env_nested_delimiter="__",
        env_prefix=ENVIRONMENT_PREFIX,
        extra="forbid",
        use_attribute_docstrings=True,
    )

    config: Path | None = None
    """TOML file of settings. The environment (FASHION_TRAINING_RUN_DIR,
    FASHION_TRAINING_FIT__EPOCHS) overrides it, the command line overrides both."""
    data_dir: Path | None = None
    """Folder of the four IDX files, plain or .gz. Without it: the Debian package
    dataset-fashion-mnist, then Keras' cache, then a download into that cache."""
    allow_other_data: bool = False
    """Read a subset, or another data set of the same form: its digests are not checked."""
    run_dir: Path = Path("runs/default")
    """Folder of the run: configuration, checkpoint, history, logs, evaluation, report."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Rank the sources below the command line: arguments, environment, TOML file."""
        del dotenv_settings, file_secret_settings
        return init_settings, env_settings, _TomlFile(settings_cls)


class FitSettings(Settings):
    """Train the network, or go on with a run that was interrupted."""

    network: Network = Network()
    fit: Fit = Fit()
    fresh: bool = False
    """Discard what the run folder holds and start again."""


class EvaluateSettings(Settings):
    """Measure a finished run's best checkpoint on the test images and draw the report."""


class ExportSettings(Settings):
    """Publish an evaluated run as the next version of the artifact."""

    artifacts: Path = Path("artifacts/fashion_mnist")
    """Folder of the published versions, one numbered folder each."""
    version: Count | None = None
    """Version to publish. Without it: one more than the highest there is."""


AnySettings = TypeVar("AnySettings", bound=Settings)


def read_settings(
    command: type[AnySettings], arguments: Sequence[str], program: str
) -> AnySettings:
    """Read a command's settings: command line over environment over TOML file over default.

    Args:
        command: the settings class of the command.
        arguments: the command line after the command's name.
        program: how the command is called, for the usage line of `--help`.

    Raises:
        ConfigurationError: a setting is unknown, out of range or impossible.
        SystemExit: `--help` was asked for and printed.
    """
    _refuse_unknown(_environment_names(), where="the environment has")
    try:
        command_line: CliSettingsSource[Any] = CliSettingsSource(
            command,
            cli_prog_name=program,
            cli_parse_args=list(arguments),
            cli_avoid_json=True,
            cli_exit_on_error=False,
            cli_hide_none_type=True,
            cli_implicit_flags=True,
            cli_kebab_case=True,
        )
        return command(_cli_settings_source=command_line)
    except ValidationError as error:
        raise ConfigurationError(_sentence(error)) from error
    except SettingsError as error:
        raise ConfigurationError(str(error).removeprefix("error parsing CLI: ")) from error


def _environment_names() -> Iterator[str]:
    for variable in map(str.upper, os.environ):
        if variable.startswith(ENVIRONMENT_PREFIX):
            yield variable.removeprefix(ENVIRONMENT_PREFIX).split("__")[0].lower()


def _refuse_unknown(names: Iterable[str], where: str) -> None:
    known = {*FitSettings.model_fields, *EvaluateSettings.model_fields}
    known.update(ExportSettings.model_fields)
    if unknown := sorted(set(names) - known):
        raise ConfigurationError(f"{where} an unknown setting: {', '.join(unknown)}")


def _sentence(error: ValidationError) -> str:
    return "; ".join(
        f"{'.'.join(map(str, item['loc']))}: {item['msg'].removeprefix('Value error, ')}"
        for item in error.errors()
    )
