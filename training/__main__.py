"""`fashion-mnist-training fit | evaluate | export | publish`, or `python -m training`."""

import importlib
import os
import sys
from collections.abc import Sequence

from . import PROGRAM, TrainingError
from .config import ConfigurationError, Settings, read_settings
from .native_logging import native_noise_hidden

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells report it


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status: 0 done, 1 failed, 2 wrong settings, 130 Ctrl-C."""
    arguments = sys.argv[1:] if arguments is None else arguments
    status, program = 0, " ".join([PROGRAM, *arguments[:1]])
    try:
        settings = read_settings(arguments)
        _run(arguments[0], settings)
    except ConfigurationError as error:
        status, message = EXIT_USAGE, str(error)
    except (TrainingError, OSError) as error:  # such as a full disk
        status, message = EXIT_FAILED, str(error)
    except KeyboardInterrupt:
        status, message = EXIT_INTERRUPTED, "interrupted"
        if arguments[0] == "fit":
            message += "; the same command resumes after the last whole epoch"
    if status:
        print(f"{program}: {message}", file=sys.stderr)
    return status


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
