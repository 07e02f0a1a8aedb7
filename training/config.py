"""Every setting of training, defined once for the TOML file, the environment and the command line.

This module imports neither TensorFlow nor NumPy, so that a wrong setting is refused immediately.
"""

import difflib
import os
import re
import shlex
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast, get_args

import shtab
from pydantic import Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    CliApp,
    CliPositionalArg,
    CliSettingsSource,
    CliSubCommand,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
    get_subcommand,
)

from . import COMMAND, PROGRAM, TrainingError, __version__
from .recipe import Block, Count, Recipe

ENVIRONMENT_PREFIX = "FASHION_TRAINING_"


class ConfigurationError(TrainingError):
    """A setting is unknown, out of range or impossible; the message is one sentence for people."""


class _TomlFile(TomlConfigSettingsSource):
    """The file that `config` names, less the settings that only another command reads."""

    def __call__(self) -> dict[str, Any]:
        path = self.current_state.get("config")
        if path is None:
            return {}
        try:
            settings = tomllib.loads(Path(path).read_text(encoding="utf-8-sig"))
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"{path} cannot be read as TOML: {error}") from error
        _refuse_unknown(settings, where=f"{path} has")
        return {key: settings[key] for key in settings if key in self.settings_cls.model_fields}


class Settings(BaseSettings):
    """What every command reads."""

    model_config = SettingsConfigDict(
        cli_avoid_json=True,
        cli_exit_on_error=False,
        cli_hide_none_type=True,
        cli_implicit_flags=True,
        cli_kebab_case=True,
        env_nested_delimiter="__",
        env_prefix=ENVIRONMENT_PREFIX,
        extra="forbid",
        use_attribute_docstrings=True,
    )

    config: Path | None = None
    """TOML file of settings. The environment (FASHION_TRAINING_RUN_DIR,
    FASHION_TRAINING_FIT__EPOCHS) overrides it, the command line overrides both."""
    run_dir: Path = Path("runs/default")
    """Folder of the run: configuration, checkpoints, history, logs, evaluation, report."""
    data_dir: Path | None = None
    """Folder of the four IDX files, plain or .gz. By default the Debian package
    dataset-fashion-mnist, else Keras' cache, else a download into that cache."""
    allow_other_data: bool = False
    """Accept a subset or another data set in the same format, without checking its digests."""
    classes: tuple[str, ...] = ()
    """Names of the classes of other data, by label. By default the labels themselves."""

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], *_: Any, **sources: PydanticBaseSettingsSource
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Rank the sources: command line, environment, TOML file."""
        names = [name for name in map(str.upper, os.environ) if name.startswith(ENVIRONMENT_PREFIX)]
        keys = [name.removeprefix(ENVIRONMENT_PREFIX).split("__")[0].lower() for name in names]
        _refuse_unknown(keys, where="the environment has")
        return sources["init_settings"], sources["env_settings"], _TomlFile(settings_cls)

    def next_command(self, command: str) -> str:
        """Return the whole command that comes next, with this one's run and data."""
        options = ["--run-dir", str(self.run_dir)]
        if self.data_dir:
            options += ["--data-dir", str(self.data_dir)]
        if self.allow_other_data:
            options.append("--allow-other-data")
        options += [f"--classes={name}" for name in self.classes]
        return f"{PROGRAM} {shlex.join([command, *options])}"


class FitSettings(Recipe, Settings):  # type: ignore[misc]  # pydantic merges the two model_config
    """Train the network, or resume an interrupted run."""

    fresh: bool = False
    """Discard what the run folder holds and start again."""

    @property
    def recipe(self) -> Recipe:
        """The settings that decide the weights."""
        return Recipe(**{name: getattr(self, name) for name in Recipe.model_fields})


class EvaluateSettings(Settings):
    """Measure a finished run on the test images and draw the report."""


class ExportSettings(Settings):
    """Publish an evaluated run as the next version of the artifact."""

    artifacts: Path | None = None
    """Folder of the published versions, one numbered folder each. By default `exported` in the
    run folder. The service serves artifacts/fashion_mnist by default."""
    experiments: Path | None = None
    """Folder of ablation.json, compromises.json and seeds.json from `python -m benchmarks.recipes`,
    which go into the scores and the model card."""
    version: Count | None = None
    """Version to publish. By default one more than the highest."""


class PublishSettings(Settings):
    """Publish a model that was built elsewhere, such as the one of the lesson."""

    model: CliPositionalArg[Path]
    """The model: a .keras or .h5 file, or the folder of a SavedModel."""
    artifacts: Path | None = None
    """Folder of the published versions. By default `exported/NAME` beside the model."""
    name: str = Field(default="fashion_mnist", pattern="^[A-Za-z0-9_]{1,64}$")
    """Name of the model in requests."""
    classes: tuple[str, ...] = ()
    """Names of the classes, by label. By default Fashion-MNIST's for ten classes, else numbers."""
    class_file: Path | None = None
    """Text file with one class name per line, instead of `classes`."""
    from_logits: bool = False
    """The outputs are logits: add a softmax. Detected from the last activation where possible."""
    test_data: Path | None = None
    """Images to score it on: an .npz file with x_test, (n, height, width) uint8, and y_test, as in
    Keras' data sets. By default Fashion-MNIST's, if the model has their size and classes."""
    evaluate: bool = True
    """Score it on the test images."""
    novelty: bool = False
    """Add a novelty score, with its threshold from the test images."""
    version: Count | None = None
    """Version to publish. By default one more than the highest."""


class Commands(BaseSettings):
    """Train the Fashion-MNIST network offline and publish it for the service."""

    # Each command reads the environment itself; no variable's name has the prefix `=`.
    model_config = Settings.model_config | SettingsConfigDict(env_prefix="=")

    fit: CliSubCommand[FitSettings] = Field(description=FitSettings.__doc__)
    evaluate: CliSubCommand[EvaluateSettings] = Field(description=EvaluateSettings.__doc__)
    export: CliSubCommand[ExportSettings] = Field(description=ExportSettings.__doc__)
    publish: CliSubCommand[PublishSettings] = Field(description=PublishSettings.__doc__)


def read_settings(arguments: Sequence[str]) -> Settings:
    """Read the settings of the command that the arguments begin with.

    The command line overrides the environment, the TOML file and the default, in this order. A
    setting that is unknown, out of range or impossible is a ConfigurationError.
    """
    source = CliSettingsSource[Any](Commands, cli_prog_name=PROGRAM)
    parser = source.root_parser
    parser.add_argument("--version", action="version", version=f"{COMMAND} {__version__}")
    if PROGRAM == COMMAND:  # shells complete commands, not modules of Python
        shtab.add_argument_to(parser, help="print a completion script for this shell, and exit")
    try:
        return cast(Settings, get_subcommand(CliApp.run(Commands, [*arguments], source)))
    except ValidationError as error:
        raise ConfigurationError(_sentence(error)) from error
    except SettingsError as error:
        message = str(error).removeprefix("error parsing CLI: ").removeprefix("Error: ")
        raise ConfigurationError(message + _suggested_option(message, arguments)) from error


def _refuse_unknown(names: Iterable[str], where: str) -> None:
    known = {name for command in Settings.__subclasses__() for name in command.model_fields}
    if unknown := sorted(set(names) - known):
        named = ", ".join(name + _suggestion(name, known) for name in unknown)
        raise ConfigurationError(f"{where} an unknown setting: {named}")


def _sentence(error: ValidationError) -> str:
    """Return one clause for each wrong setting, with the nearest name for an unknown one.

    pydantic has an error for each type that a setting may have, and one for a list whose items are
    all wrong, as if it were empty.
    """
    clauses: dict[str, str] = {}
    for item in error.errors():
        _, *parts = map(str, item["loc"])  # after the command
        place = [part for part in parts if not part.startswith(("constrained", "tuple", "int"))]
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            name = _PLACES.get(place[-1], place[-1])
            message = f"unknown setting{_suggestion(name, [*_PLACES, *_PLACES.values()])}"
        clauses.setdefault(".".join(place), message)
    return "; ".join(
        f"{name}: {message}" if name else message
        for name, message in clauses.items()
        if not any(other.startswith(f"{name}.") for other in clauses)
    )


_GROUPS = {"network.blocks": Block} | {name: type(group) for name, group in Recipe()}
_PLACES = {name: f"{place}.{name}" for place in _GROUPS for name in _GROUPS[place].model_fields}
_PLACES |= {name: name for name in FitSettings.model_fields}


def _suggestion(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {near[0]}?)" if near else ""


def _suggested_option(message: str, arguments: Sequence[str]) -> str:
    """Return the option nearest to the one that the message says is not known."""
    unknown = [word for word in message.split() if word.startswith("--")]
    if not unknown or arguments[0] not in Commands.model_fields:
        return ""
    command, _ = get_args(Commands.model_fields[arguments[0]].annotation)
    options = re.findall(r"--[\w.-]+", CliSettingsSource[Any](command).root_parser.format_usage())
    return _suggestion(unknown[0].split("=")[0], options)
