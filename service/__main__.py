"""`python -m service`: settings in, server up."""

import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from copy import deepcopy
from math import ceil

import uvicorn
from pydantic import ValidationError
from uvicorn.config import LOGGING_CONFIG, STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from service.api.connection import BoundedHeadProtocol
from service.settings import ENVIRONMENT_PREFIX, Settings

USAGE_ERROR = 2


def main(arguments: Sequence[str]) -> int:
    """Serve until told to stop.

    Args:
        arguments: Of the command line, without the program's name.

    Returns:
        The exit status: 0, or that of a usage or start-up failure.
    """
    try:
        settings = Settings(_cli_parse_args=list(arguments))
    except ValidationError as error:
        for problem in error.errors():
            name = ".".join(str(part) for part in problem["loc"])
            print(f"python -m service: {name}: {problem['msg']}", file=sys.stderr)
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
        timeout_graceful_shutdown=max(0, settings.drain_seconds - ceil(settings.notice_seconds)),
        http=BoundedHeadProtocol,
        ws="none",
    )
    if settings.workers == 1:
        # The server raises the signal that stopped it again once it has drained.
        signal.signal(signal.SIGTERM, lambda _, __: sys.exit(0))
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
    sys.exit(main(sys.argv[1:]))
