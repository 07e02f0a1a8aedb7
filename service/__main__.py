"""`fashion-mnist-service`, or `python -m service`: settings in, server up."""

import contextlib
import os
import sys
from collections.abc import Sequence
from copy import deepcopy

import uvicorn
from pydantic import ValidationError
from uvicorn.config import LOGGING_CONFIG, STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from service.command_line import PROGRAM, read_settings
from service.settings import ENVIRONMENT_PREFIX, Settings

USAGE_ERROR = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until told to stop.

    Args:
        arguments: Of the command line, without the program's name; those of the process if None.

    Returns:
        The exit status: 0, or that of a usage or start-up failure.
    """
    try:
        settings = read_settings(sys.argv[1:] if arguments is None else arguments)
    except ValidationError as error:
        for problem in error.errors():
            name = ".".join(str(part) for part in problem["loc"])
            print(f"{PROGRAM}: {name}: {problem['msg']}", file=sys.stderr)
        return USAGE_ERROR
    _hand_to_workers(settings)
    config = uvicorn.Config(
        "service.app:create_app",
        factory=True,
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        log_config=_log_config(settings),
        server_header=False,
        timeout_graceful_shutdown=settings.drain_seconds,
        ws="none",
    )
    if settings.workers == 1:
        # Ctrl-C reaches the caller again after the server has drained.
        with contextlib.suppress(KeyboardInterrupt):
            uvicorn.Server(config).run()
        return 0
    supervisor = Multiprocess(config, sockets=[config.bind_socket()])
    supervisor.run()
    failed = any(worker.exitcode == STARTUP_FAILURE for worker in supervisor.processes)
    return STARTUP_FAILURE if failed else 0


def _hand_to_workers(settings: Settings) -> None:
    """Put the settings into the environment, where the application factory of a worker looks."""
    for name, value in settings.model_dump(mode="json").items():
        os.environ[ENVIRONMENT_PREFIX + name.upper()] = str(value)


def _log_config(settings: Settings) -> dict[str, object]:
    """Return uvicorn's logging configuration with the service's own messages in it."""
    config = deepcopy(LOGGING_CONFIG)
    level = settings.log_level.upper()
    for logger in ("uvicorn", "uvicorn.access"):
        config["loggers"][logger]["level"] = level
    config["loggers"]["service"] = {"handlers": ["default"], "level": level, "propagate": False}
    return config


if __name__ == "__main__":
    sys.exit(main())
