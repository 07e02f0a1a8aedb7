"""Counts what the process has accepted and not yet answered, and rejects what exceeds it.

Excess load is rejected at once: an answer that comes too late costs the same work for nothing.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple, Self

from service.capacity.parallel import WorkerThreads
from service.errors import DeadlineExceeded, Draining, Overloaded
from service.telemetry.record import RequestRecord

SMALL_BYTES = 65536
SMALL_SHARE = 1.25
"""Of the most bytes in flight: requests of up to `SMALL_BYTES` go on where large ones, which a few
slow clients can send, have taken all of it."""


class Limits(NamedTuple):
    """What one request may cost; see the settings of the same names."""

    max_images: int = 256
    max_pixels: int = 25_000_000
    max_json_depth: int = 16
    max_json_marks: int = 1_000_000


class Deferred(Exception):
    """The request costs more than may be spent where it is, and starts again elsewhere."""


@dataclass(kw_only=True, eq=False)
class Admission:
    """Counts images and bytes of request bodies in flight, waiting ones included. Thread-safe."""

    max_images: int
    max_bytes: int
    limits: Limits = field(default_factory=Limits)
    on_change: Callable[[int], object] = lambda _: None
    """Called with the change of the number of images."""
    images: int = field(default=0, init=False)
    bytes: int = field(default=0, init=False)
    _closed_at: float | None = field(default=None, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    @property
    def is_open(self) -> bool:
        return self._closed_at is None

    def close(self) -> None:
        """Accept no new request; those in flight go on."""
        self._closed_at = time.monotonic()

    def remaining(self, seconds: float) -> float:
        """Return what is left of a period that begins when the admission is closed."""
        closed_for = 0 if self._closed_at is None else time.monotonic() - self._closed_at
        return max(0, seconds - closed_for)

    def admit(self, record: RequestRecord, images: int = 1, byte_count: int = 0) -> "Permit":
        """Accept a request of so many images and bytes, as far as they are known yet.

        Raises:
            Draining: The process is about to end.
            Overloaded: Too many images or bytes are in flight.
        """
        self._check_open()
        self.reserve(images, byte_count)
        return Permit(record, self.limits, self, images, byte_count)

    def check(self, images: int = 1) -> None:
        """Raise what `admit` would."""
        self._check_open()
        self._check_capacity(images, 0, 0)

    def _check_open(self) -> None:
        if not self.is_open:
            raise Draining("the service is about to stop; another instance may answer")

    def reserve(self, images: int, byte_count: int, held: int = 0) -> None:
        """Count more in flight, for a request that holds so many bytes; or raise Overloaded."""
        with self._lock:
            self._check_capacity(images, byte_count, held)
            self.images += images
            self.bytes += byte_count
        if images:
            self.on_change(images)

    @contextmanager
    def hold(self, byte_count: int) -> Iterator[None]:
        """Count so many bytes more in flight during the block, or raise Overloaded."""
        self.reserve(0, byte_count)
        try:
            yield
        finally:
            self.release(0, byte_count)

    def release(self, images: int, byte_count: int) -> None:
        with self._lock:
            self.images -= images
            self.bytes -= byte_count
        if images:
            self.on_change(-images)

    def _check_capacity(self, images: int, byte_count: int, held: int) -> None:
        is_small = held + byte_count <= SMALL_BYTES
        max_bytes = int(self.max_bytes * (SMALL_SHARE if is_small else 1))
        if self.images + images > self.max_images:
            count, unit, limit = self.images, "images", self.max_images
        elif self.bytes + byte_count > max_bytes:
            count, unit, limit = self.bytes, "bytes", max_bytes
        else:
            return
        raise Overloaded(f"{count} {unit} are in flight, the most there may be is {limit}")


@dataclass(slots=True, eq=False)
class Permit:
    """What one accepted request holds and may use, passed to every function that works on it.

    The connection and the threads that work on the request share it. What it reserves is released
    when the last of them leaves its `with` block: abandoned work still takes its capacity.
    """

    record: RequestRecord
    limits: Limits
    _admission: Admission
    _images: int
    _bytes: int
    deadline: float = float("inf")
    """When the answer is due, in seconds of `time.monotonic()`."""
    pixel_budget: float = float("inf")
    """Pixels that may be decoded before the request is deferred."""
    workers: WorkerThreads | None = None
    """Threads that may share its work."""
    is_large: bool = False
    """Whether it is known to be a large job; see `Pools`."""
    _users: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

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
        """Reserve capacity for `count` images in all, or raise Overloaded."""
        if count > self._images:
            self._admission.reserve(count - self._images, 0)
            self._images = count

    def reserve_bytes(self, count: int) -> None:
        """Reserve capacity for `count` more bytes, or raise Overloaded."""
        self._admission.reserve(0, count, self._bytes)
        self._bytes += count

    def start_deadline(self, seconds: float) -> None:
        self.deadline = time.monotonic() + seconds

    def cancel(self) -> None:
        """Have the threads that work on the request stop at their next `check`."""
        self.deadline = float("-inf")

    def check(self) -> None:
        """Raise DeadlineExceeded if nobody waits for the answer any more."""
        if time.monotonic() > self.deadline:
            raise DeadlineExceeded("the answer was not ready in time")

    def charge_pixels(self, count: int) -> None:
        """Check, and raise Deferred if so many more pixels may not be decoded where it is."""
        self.check()
        self.pixel_budget -= count
        if self.pixel_budget < 0:
            raise Deferred
