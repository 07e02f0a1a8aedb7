"""Every setting of training, defined once for the TOML file, the environment and the command line.

This module imports neither TensorFlow nor NumPy, so that a wrong setting is refused at once.
"""

import os
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    CliSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from training.errors import TrainingError
from training.recipe import Augmentation, Count, Distillation, Fit, Network, Recipe

ENVIRONMENT_PREFIX = "FASHION_TRAINING_"


class ConfigurationError(TrainingError):
    """A setting is unknown, out of range or impossible; the message is one sentence for people."""


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


class _TaughtSettings(Settings):
    teachers_dir: Path | None = None
    """Folder of the teachers' runs and their answers, which several runs may share. Without it:
    `teachers` in the run folder."""


class FitSettings(_TaughtSettings):
    """Train the network, or go on with a run that was interrupted."""

    network: Network = Network()
    fit: Fit = Fit()
    augmentation: Augmentation = Augmentation()
    distillation: Distillation | None = None
    teachers_at_once: Count = 1
    """Teachers to train side by side, each in a process of its own, on an accelerator that has room
    for them."""
    fresh: bool = False
    """Discard what the run folder holds and start again."""

    @model_validator(mode="after")
    def _no_teacher_has_seen_the_validation_images(self) -> "FitSettings":
        fraction = self.distillation.teacher.validation_fraction if self.distillation else None
        if fraction is None:
            return self
        if fraction < self.fit.validation_fraction:
            raise ValueError("no less may be held out from the teachers than from the network")
        if self.fit.stratify:
            raise ValueError("stratified, what is held out from the teachers would be other images")
        return self

    @property
    def recipe(self) -> Recipe:
        """The settings that decide the weights."""
        return Recipe(
            network=self.network,
            fit=self.fit,
            augmentation=self.augmentation,
            distillation=self.distillation,
        )


class EvaluateSettings(_TaughtSettings):
    """Measure a finished run's best checkpoint on the test images and draw the report."""

    photographs: Path | None = None
    """Also measure on photographs: the file that `python -m benchmarks.photographs FOLDER
    --prepared FILE` writes."""


class ExportSettings(Settings):
    """Publish an evaluated run as the next version of the artifact."""

    artifacts: Path = Path("artifacts/fashion_mnist")
    """Folder of the published versions, one numbered folder each."""
    experiments: Path | None = None
    """Folder of ablation.json and seeds.json, which `python -m benchmarks.recipes` writes: they go
    into the scores and the model card."""
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
        source = command_line(command, cli_prog_name=program, cli_parse_args=list(arguments))
        return command(_cli_settings_source=source)
    except ValidationError as error:
        raise ConfigurationError(_sentence(error)) from error
    except SettingsError as error:
        raise ConfigurationError(str(error).removeprefix("error parsing CLI: ")) from error


def command_line(command: type[Settings], **properties: Any) -> CliSettingsSource[Any]:
    """Return a command's settings as options; `properties` are those of CliSettingsSource."""
    return CliSettingsSource(
        command,
        cli_avoid_json=True,
        cli_exit_on_error=False,
        cli_hide_none_type=True,
        cli_implicit_flags=True,
        cli_kebab_case=True,
        **properties,
    )


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
