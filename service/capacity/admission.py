"""Counts what the process has accepted and not yet answered, and rejects what exceeds it.

Excess load is rejected immediately: a request that waits longer than its client does costs the
same work and helps nobody.
"""

import threading
import time
from collections.abc import Callable
from typing import NamedTuple, Self

from service.capacity.parallel import WorkerThreads
from service.errors import DeadlineExceeded, Draining, Overloaded
from service.telemetry.record import RequestRecord


class Limits(NamedTuple):
    """What one request may cost; see the settings of the same names."""

    max_images: int = 256
    max_pixels: int = 25_000_000
    max_json_depth: int = 16
    max_json_marks: int = 1_000_000


class Deferred(Exception):
    """The request costs more than may be spent where it is, and starts again elsewhere."""


class Admission:
    """Counts images and bytes in flight. Thread-safe.

    Args:
        max_images: Images that may be in flight.
        max_bytes: Bytes of request bodies that may be in flight.
        limits: Of each request.
        on_change: Called with the change of the number of images.
    """

    def __init__(
        self,
        *,
        max_images: int,
        max_bytes: int,
        limits: Limits | None = None,
        on_change: Callable[[int], None] | None = None,
    ) -> None:
        self._max_images = max_images
        self._max_bytes = max_bytes
        self._limits = limits or Limits()
        self._on_change = on_change or (lambda _: None)
        self._closed_at: float | None = None
        self._lock = threading.Lock()
        self.images = 0
        """Images accepted and not yet answered, waiting ones included."""
        self.bytes = 0
        """Bytes of request bodies in memory."""

    @property
    def is_open(self) -> bool:
        """Whether new requests are accepted."""
        return self._closed_at is None

    def close(self) -> None:
        """Accept no new request; those in flight go on."""
        self._closed_at = time.monotonic()

    def remaining(self, seconds: float) -> float:
        """Return what is left of a period that begins when the admission is closed."""
        if self._closed_at is None:
            return seconds
        return max(0, seconds - (time.monotonic() - self._closed_at))

    def admit(self, record: RequestRecord, images: int = 1, byte_count: int = 0) -> "Permit":
        """Accept a request; leaving the permit's `with` block releases what it reserves.

        Args:
            record: Of the request.
            images: How many it has, as far as that is known before its body is read.
            byte_count: Of the body, as far as it has arrived.

        Raises:
            Draining: The process is about to end.
            Overloaded: Too many images or bytes are in flight.
        """
        self._check_open()
        self.reserve(images, byte_count)
        return Permit(self, record, self._limits, images, byte_count)

    def check(self, images: int = 1) -> None:
        """Raise what `admit` would, and reserve nothing."""
        self._check_open()
        self._check_capacity(images, 0)

    def reserve(self, images: int, byte_count: int) -> None:
        """Count more in flight, or raise Overloaded."""
        with self._lock:
            self._check_capacity(images, byte_count)
            self.images += images
            self.bytes += byte_count
        if images:
            self._on_change(images)

    def release(self, images: int, byte_count: int) -> None:
        """Count less in flight."""
        with self._lock:
            self.images -= images
            self.bytes -= byte_count
        if images:
            self._on_change(-images)

    def _check_open(self) -> None:
        if not self.is_open:
            raise Draining("the service is about to stop; another instance may answer")

    def _check_capacity(self, images: int, byte_count: int) -> None:
        if self.images + images > self._max_images:
            raise _overloaded(self.images, "images", self._max_images)
        if self.bytes + byte_count > self._max_bytes:
            raise _overloaded(self.bytes, "bytes", self._max_bytes)


def _overloaded(count: int, unit: str, limit: int) -> Overloaded:
    return Overloaded(f"{count} {unit} are in flight, the most there may be is {limit}")


class Permit:
    """What one accepted request holds and may use, passed to every function that works on it.

    It is shared by the connection and the threads that work on the request, and released when the
    last of them leaves its `with` block: abandoned work still takes the capacity it takes.

    Attributes:
        record: Of the request.
        limits: Of the request.
        deadline: When the answer is due, in seconds of `time.monotonic()`.
        pixel_budget: Pixels that may be decoded before the request is deferred.
        workers: Threads that may share its work, if any.
        is_expected: Whether the queue of large jobs already counts it.
    """

    __slots__ = (
        "_admission",
        "_bytes",
        "_cancelled",
        "_images",
        "_lock",
        "_users",
        "deadline",
        "is_expected",
        "limits",
        "pixel_budget",
        "record",
        "workers",
    )

    def __init__(
        self,
        admission: Admission,
        record: RequestRecord,
        limits: Limits,
        images: int,
        byte_count: int,
    ) -> None:
        self.record = record
        self.limits = limits
        self.deadline = self.pixel_budget = float("inf")
        self.workers: WorkerThreads | None = None
        self.is_expected = False
        self._admission = admission
        self._images = images
        self._bytes = byte_count
        self._users = 0
        self._cancelled = False
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        with self._lock:
            self._users += 1
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._users -= 1
            is_last = self._users == 0
        if is_last:
            self._admission.release(self._images, self._bytes)

    def reserve_images(self, count: int) -> None:
        """Reserve capacity for all images of the request once their number is known.

        Raises:
            Overloaded: There is not enough.
        """
        if count > self._images:
            self._admission.reserve(count - self._images, 0)
            self._images = count

    def reserve_bytes(self, count: int) -> None:
        """Reserve room for that many more bytes, or raise Overloaded."""
        self._admission.reserve(0, count)
        self._bytes += count

    def start_deadline(self, seconds: float) -> None:
        """Have the answer due in so many seconds."""
        self.deadline = time.monotonic() + seconds

    def cancel(self) -> None:
        """Have the threads that work on the request stop at their next `check`."""
        self._cancelled = True

    def check(self) -> None:
        """Raise DeadlineExceeded if nobody waits for the answer any more."""
        if self._cancelled or time.monotonic() > self.deadline:
            raise DeadlineExceeded("the answer was not ready in time")

    def charge_pixels(self, count: int) -> None:
        """Ask before decoding so many pixels.

        Raises:
            DeadlineExceeded: Nobody waits for the answer any more.
            Deferred: The request has more pixels than may be decoded where it is.
        """
        self.check()
        self.pixel_budget -= count
        if self.pixel_budget < 0:
            raise Deferred
