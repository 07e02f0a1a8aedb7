"""`fashion-mnist-training fit | evaluate | export | publish`, or `python -m training`."""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

import shtab
from pydantic_settings import CliSettingsSource

from . import COMMAND, PROGRAM, TrainingError, __version__
from .config import (
    ConfigurationError,
    EvaluateSettings,
    ExportSettings,
    FitSettings,
    PublishSettings,
    Settings,
    read_settings,
)
from .native_logging import native_noise_hidden

COMMANDS: dict[str, type[Settings]] = {
    "fit": FitSettings,
    "evaluate": EvaluateSettings,
    "export": ExportSettings,
    "publish": PublishSettings,
}
DESCRIPTION = "\n".join(
    ["Train the Fashion-MNIST network offline and publish it for the service.", ""]
    + [f"  {name:10}{settings.__doc__}" for name, settings in COMMANDS.items()]
    + ["", f"`{PROGRAM} COMMAND --help` lists the settings of a command."]
)

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells report it


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status: 0 done, 1 failed, 2 wrong settings, 130 Ctrl-C."""
    parser = _parser()
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help=" | ".join(COMMANDS))
    parser.add_argument("settings", nargs=argparse.REMAINDER, metavar="...", help="its settings")
    options = parser.parse_args(arguments)
    status, program = 0, f"{PROGRAM} {options.command}"
    try:
        _run(options.command, read_settings(COMMANDS[options.command], options.settings, program))
    except ConfigurationError as error:
        status, message = EXIT_USAGE, str(error)
    except (TrainingError, OSError) as error:  # such as a full disk
        status, message = EXIT_FAILED, str(error)
    except KeyboardInterrupt:
        status, message = EXIT_INTERRUPTED, "interrupted"
        if options.command == "fit":
            message += "; the same command resumes after the last whole epoch"
    if status:
        print(f"{program}: {message}", file=sys.stderr)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"{COMMAND} {__version__}")
    if PROGRAM == COMMAND:  # shells complete commands, not modules of Python
        shtab.add_argument_to(
            parser,
            help="print a completion script for this shell, and exit",
            parent=_completed_parser(),
        )
    return parser


def _completed_parser() -> argparse.ArgumentParser:
    """Return a parser that knows the settings of every command at once, for the completion."""
    parser = argparse.ArgumentParser(prog=COMMAND)
    commands = parser.add_subparsers()
    for name, settings in COMMANDS.items():
        command = commands.add_parser(name, help=settings.__doc__)
        CliSettingsSource[Any](settings, root_parser=command)
    return parser


def _run(command: str, settings: Settings) -> None:
    # TensorFlow takes seconds to import; --help and wrong settings do not wait for it.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ["KERAS_BACKEND"] = "tensorflow"  # which is exported
    try:
        with native_noise_hidden():
            module = importlib.import_module(f"{__package__}.{command}")
    except ModuleNotFoundError as error:
        raise TrainingError(f"{error}: the extra `training` brings it") from error
    module.run(settings)


if __name__ == "__main__":
    sys.exit(main())
