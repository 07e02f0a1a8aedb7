"""`fashion-mnist-service`, or `python -m service`: reads the settings and starts the server."""

import contextlib
import logging
import os
import signal
import socket
import ssl
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

import uvicorn
from pydantic import ValidationError
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from .cli import PROGRAM, describe_problem, read_options, unknown_variables
from .http.protocol import ServiceProtocol
from .settings import WORKERS_DIRECTORY, Settings
from .telemetry.logs import log_config

_USAGE_ERROR = 2
_CLOSE_SECONDS = 0.2  # until the workers have closed the port
_END_SECONDS = 0.5  # until the server notices the signal, and for the application to end

logger = logging.getLogger(__package__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until a signal; return 0, or the exit status of a usage or start-up failure."""
    try:
        options = read_options(sys.argv[1:] if arguments is None else arguments)
        # Variables may be in any case; an option counts more than each of them.
        for name in [name for name in os.environ if name.upper() in options]:
            del os.environ[name]
        os.environ.update(options)
        settings = Settings()
    except ValidationError as error:
        for problem in error.errors():
            print(f"{PROGRAM}: {describe_problem(problem)}", file=sys.stderr)
        return _USAGE_ERROR
    try:
        _check_certificate(settings)
    except OSError as error:  # ssl.SSLError is one.
        print(f"{PROGRAM}: tls_certificate and tls_key cannot be used: {error}", file=sys.stderr)
        return _USAGE_ERROR
    seconds_to_finish = settings.drain_seconds - settings.notice_seconds - _END_SECONDS
    config = uvicorn.Config(
        f"{__package__}.app:create_app",
        factory=True,
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        log_config=log_config(settings.log_format, settings.log_level),
        access_log=False,  # The service writes its own.
        server_header=False,
        timeout_keep_alive=settings.keep_alive_seconds,
        headers=[("Keep-Alive", f"timeout={settings.keep_alive_seconds}")],
        timeout_graceful_shutdown=max(0, seconds_to_finish),  # type: ignore[arg-type]  # asyncio takes fractions
        http=ServiceProtocol,
        ws="none",
        forwarded_allow_ips=settings.forwarded_allow_ips,
        ssl_certfile=settings.tls_certificate,
        ssl_keyfile=settings.tls_key,
    )
    if not settings.is_local and not (settings.api_keys or settings.api_keys_file):
        logger.warning(
            "no API keys are set: any client that reaches %s may use, load and unload the model",
            settings.host,
        )
    for warning in unknown_variables(os.environ):
        logger.warning(warning)
    try:
        listener = config.bind_socket()
    except SystemExit:  # uvicorn has logged the reason.
        print(
            f"{PROGRAM}: cannot listen on port {settings.port} of {settings.host}: stop the "
            "program there or choose another --port; --host must be an address of this machine",
            file=sys.stderr,
        )
        return STARTUP_FAILURE
    if settings.workers == 1:
        _serve_alone(config, listener)
    with _workers_directory():
        supervisor = _Supervisor(config, sockets=[listener])
        supervisor.notice_seconds = settings.notice_seconds
        supervisor.run()
    failed = any(worker.exitcode == STARTUP_FAILURE for worker in supervisor.processes)
    return STARTUP_FAILURE if failed else 0


class _Supervisor(Multiprocess):
    """Closes the port when the workers do."""

    notice_seconds = 0.0

    def terminate_all(self) -> None:
        super().terminate_all()
        # Otherwise new connections would queue until the last worker has ended, and be reset.
        time.sleep(self.notice_seconds + _CLOSE_SECONDS)
        for listener in self.sockets:
            with contextlib.suppress(OSError):  # No worker listens yet.
                listener.shutdown(socket.SHUT_RDWR)


def _serve_alone(config: uvicorn.Config, listener: socket.socket) -> NoReturn:
    """Serve from this process, then exit."""
    # After draining, the server raises the signal that stopped it again.
    signal.signal(signal.SIGTERM, lambda _, __: sys.exit(0))
    status: object = 0
    try:
        uvicorn.Server(config).run(sockets=[listener])
    except KeyboardInterrupt:
        pass
    except SystemExit as end:
        status = end.code
    # A normal exit would wait for threads, whose work has been abandoned.
    logging.shutdown()
    os._exit(status if isinstance(status, int) else 1)


def _check_certificate(settings: Settings) -> None:
    """Raise OSError if the TLS files are unusable, before every worker fails on them."""
    if settings.tls_certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        # A given password keeps OpenSSL from prompting for one.
        context.load_cert_chain(settings.tls_certificate, settings.tls_key, password="")


@contextlib.contextmanager
def _workers_directory() -> Iterator[None]:
    """Create a directory that the workers share during the block."""
    # In memory if possible: a write to a mapped page blocks while the kernel flushes it to disk.
    memory = Path("/dev/shm")  # noqa: S108 (mkdtemp makes it private)
    parent = memory if os.access(memory, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="fashion-mnist-", dir=parent) as directory:
        os.environ[WORKERS_DIRECTORY] = directory
        yield


if __name__ == "__main__":
    sys.exit(main())
