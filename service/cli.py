"""The command line: every setting as an option, with help and shell completion."""

import argparse
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, NoReturn, get_args, get_origin

import shtab

from . import __version__
from .settings import ENVIRONMENT_PREFIX, Settings

COMMAND = "fashion-mnist-service"
# As it is called in a checkout, or installed.
PROGRAM = "python -m service" if __package__ == "service" else COMMAND

_LISTS = {"version_policy", "version_labels", "api_keys", "cors_origins", "forwarded_allow_ips"}

# Variables of the training program, and of a Kubernetes Service called fashion-mnist-….
_FOREIGN_PREFIXES = (ENVIRONMENT_PREFIX + "TRAINING_", ENVIRONMENT_PREFIX + "MNIST_")


class _Parser(argparse.ArgumentParser):
    """Suggests the nearest option for an unknown one."""

    def error(self, message: str) -> NoReturn:
        if unknown := re.search(r"unrecognized arguments: --([^\s=]+)", message):
            message += _suggest(unknown[1].replace("-", "_"), _option)
        super().error(message)


def read_options(arguments: Sequence[str]) -> dict[str, str]:
    """Return the options as environment variables, which `Settings` reads in each worker.

    Raises SystemExit for an unknown option, or after --help and the like.
    """
    parser = _Parser(
        prog=PROGRAM,
        usage="%(prog)s [options]",
        description="Serve the Fashion-MNIST model over HTTP until stopped.",
        epilog=f"Each option is also an environment variable: {_variable('port')} for --port.",
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument("--version", action="version", version=f"{COMMAND} {__version__}")
    if PROGRAM == COMMAND:  # Shells complete commands, not Python modules.
        shtab.add_argument_to(parser, help="print a completion script for this shell, and exit")
    for name, field in Settings.model_fields.items():
        choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else None
        has_default = isinstance(field.default, int | float | str) and field.default != ""
        action = parser.add_argument(
            _option(name),
            action="append",
            choices=choices,
            metavar=None if choices else name.removesuffix("_in_flight").split("_")[-1].upper(),
            help=f"{field.description}{f' (default: {field.default})' if has_default else ''}",
        )
        if Path in (field.annotation, *get_args(field.annotation)):
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]  # shtab looks there
    given = vars(parser.parse_args(arguments))
    # Lists and mappings may be given in several options; of others, the last one counts.
    return {
        _variable(name): ",".join(texts) if name in _LISTS else texts[-1]
        for name, texts in given.items()
        if name in Settings.model_fields
    }


def describe_problem(problem: Mapping[str, Any]) -> str:
    """Format one error of a ValidationError, with the option and its value if it has one."""
    message = str(problem["msg"]).removeprefix("Value error, ")
    if not problem["loc"]:
        return message
    name = str(problem["loc"][0])
    return f"{_option(name)} (or {_variable(name)}) {problem['input']!r}: {message}"


def unknown_variables(environment: Iterable[str]) -> list[str]:
    """Return a warning for each environment variable with our prefix that is no setting."""
    names = [
        variable.removeprefix(ENVIRONMENT_PREFIX).lower()
        for variable in sorted(environment)
        if variable.startswith(ENVIRONMENT_PREFIX) and not variable.startswith(_FOREIGN_PREFIXES)
    ]
    return [
        f"{_variable(name)} is not a setting of the service{_suggest(name, _variable)}"
        for name in names
        if name not in Settings.model_fields
    ]


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _variable(name: str) -> str:
    return ENVIRONMENT_PREFIX + name.upper()


def _suggest(name: str, write: Callable[[str], str]) -> str:
    nearest = get_close_matches(name, Settings.model_fields, 1)
    return f"; did you mean {write(nearest[0])}?" if nearest else ""
