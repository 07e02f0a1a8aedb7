"""Graceful shutdown: announce it, reject new requests, finish those in flight, then exit."""

import asyncio
import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from .admission import Admission

# A service manager that signals every process sends a worker what its supervisor also sends.
REPEAT_SECONDS = 1.0

logger = logging.getLogger(__name__)


@contextmanager
def drain_on_sigterm(admission: Admission, notice_seconds: float) -> Iterator[None]:
    """Delay the server's shutdown after SIGTERM by a notice period; a later SIGTERM ends it early.

    Meanwhile the port stays open, readiness is 503 and new requests are rejected, so that load
    balancers stop sending before connections are refused.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Only the main thread may handle signals.
        return
    loop = asyncio.get_running_loop()
    handler = signal.getsignal(signal.SIGTERM)

    def begin_notice() -> None:
        loop.call_later(min(REPEAT_SECONDS, notice_seconds), signal.signal, signal.SIGTERM, handler)
        loop.call_later(notice_seconds, signal.raise_signal, signal.SIGTERM)

    def on_signal(*_: object) -> None:
        if admission.is_open:
            admission.close()
            logger.info("draining: %d images in flight, new requests are refused", admission.images)
            loop.call_soon_threadsafe(begin_notice)

    signal.signal(signal.SIGTERM, on_signal)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)
