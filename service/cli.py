"""The command line of the service: every setting as an option, with help and shell completion."""

import argparse
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import shtab
from pydantic_settings import CliSettingsSource

from service import __version__
from service.settings import ENVIRONMENT_PREFIX, Settings

COMMAND = "fashion-mnist-service"
PROGRAM = COMMAND if Path(sys.argv[0]).stem == COMMAND else "python -m service"
"""What the user called it."""


def read_settings(arguments: Sequence[str]) -> Settings:
    """Read the settings: command line (without the program's name) over environment over default.

    Raises:
        ValidationError: A value is not valid.
        SystemExit: Something else was asked for and printed, or an option is unknown.
    """
    parser = argparse.ArgumentParser(
        prog=PROGRAM, usage="%(prog)s [options]", formatter_class=_formatter
    )
    parser.add_argument("--version", action="version", version=f"{COMMAND} {__version__}")
    if PROGRAM == COMMAND:  # Shells complete commands, not modules of Python.
        shtab.add_argument_to(parser, help="print a completion script for this shell, and exit")
    source = CliSettingsSource[Any](
        Settings,
        root_parser=parser,
        add_argument_method=_add_option,
        cli_hide_none_type=True,
        cli_kebab_case=True,
    )
    # The source sets both when it is made.
    parser.description = "Serve the Fashion-MNIST model over HTTP until told to stop."
    parser.epilog = (
        f"Each option is also an environment variable: {ENVIRONMENT_PREFIX}PORT for --port."
    )
    return Settings(_cli_settings_source=source(args=list(arguments)))


def _formatter(*, prog: str) -> argparse.HelpFormatter:
    width = min(100, shutil.get_terminal_size().columns)
    return argparse.HelpFormatter(prog, max_help_position=30, width=width)


def _add_option(container: Any, *names: str, **properties: Any) -> argparse.Action:
    """Add an option whose placeholder is the last word of its name: `--drain-seconds SECONDS`."""
    annotation = Settings.model_fields[properties["dest"]].annotation
    if get_origin(annotation) is Literal:
        properties["choices"] = get_args(annotation)
        del properties["metavar"]
    else:
        properties["metavar"] = properties["dest"].rpartition("_")[2].upper()
    properties["help"] = re.sub(r" \(default factory: \w+\)$", "", properties["help"])
    action: argparse.Action = container.add_argument(*names, **properties)
    if Path in (annotation, *get_args(annotation)):
        action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]  # where shtab looks for it
    return action
