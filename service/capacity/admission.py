"""Limits the requests in flight and rejects the excess at once, before it costs any work."""

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple, Self

from ..errors import DeadlineExceeded, Draining, Overloaded
from ..telemetry.record import RequestRecord
from .parallel import WorkerThreads

# Small requests may exceed the limit by this factor, so that large ones cannot block them.
SMALL_BYTES, SMALL_SHARE = 65536, 1.25


class Limits(NamedTuple):
    """Limits of one request; see the settings of the same names."""

    max_images: int = 256
    max_pixels: int = 25_000_000
    max_json_depth: int = 16
    max_json_marks: int = 1_000_000


class Deferred(Exception):
    """The request is too large for the current thread and starts again in the large pool."""


@dataclass(kw_only=True, eq=False)
class Admission:
    """Counts images and body bytes in flight, queued ones included. Thread-safe."""

    max_images: int
    max_bytes: int
    limits: Limits = field(default_factory=Limits)
    on_change: Callable[[int], object] = lambda _: None  # Called with the change of `images`.
    images: int = field(default=0, init=False)
    bytes: int = field(default=0, init=False)
    _closed_at: float | None = field(default=None, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    @property
    def is_open(self) -> bool:
        return self._closed_at is None

    def close(self) -> None:
        """Accept no new request."""
        self._closed_at = time.monotonic()

    def remaining(self, seconds: float) -> float:
        """Return what is left of a period that starts with `close`."""
        closed_for = 0 if self._closed_at is None else time.monotonic() - self._closed_at
        return max(0, seconds - closed_for)

    def admit(
        self, record: RequestRecord, images: int = 1, byte_count: int = 0, begin: float = math.inf
    ) -> "Permit":
        """Accept a request, also if it began before `close`; raises Draining or Overloaded."""
        self.check(0, begin)
        self.reserve(images, byte_count)
        return Permit(record, self.limits, self, images, byte_count)

    def check(self, images: int = 1, begin: float = math.inf) -> None:
        """Raise what `admit` would raise; `begin` is in seconds of `time.monotonic()`."""
        if self._closed_at is not None and begin > self._closed_at:
            raise Draining("the service is shutting down; retry with another instance")
        self._check_capacity(images, 0, 0)

    def reserve(self, images: int, byte_count: int, held: int = 0) -> None:
        """Add images and bytes to a request that has `held` bytes, or raise Overloaded."""
        with self._lock:
            self._check_capacity(images, byte_count, held)
            self.images += images
            self.bytes += byte_count
        if images:
            self.on_change(images)

    @contextmanager
    def hold(self, byte_count: int) -> Iterator[None]:
        """Reserve bytes during the block."""
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
        raise Overloaded(f"{count} {unit} are in flight; the limit is {limit}")


@dataclass(slots=True, eq=False)
class Permit:
    """The capacity and limits of one accepted request.

    The connection and the threads that work on the request share it. The last one to leave its
    `with` block releases the capacity, because abandoned work still uses it.
    """

    record: RequestRecord
    limits: Limits
    _admission: Admission
    _images: int
    _bytes: int
    deadline: float = float("inf")  # In seconds of `time.monotonic()`.
    pixel_budget: float = float("inf")  # Pixels that may be decoded before the request is deferred.
    workers: WorkerThreads | None = None
    is_large: bool = False  # Whether it starts in the large pool.
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
        """Raise the reservation to `count` images in total, or raise Overloaded."""
        if count > self._images:
            self._admission.reserve(count - self._images, 0)
            self._images = count

    def reserve_bytes(self, count: int) -> None:
        """Reserve `count` more bytes, or raise Overloaded."""
        self._admission.reserve(0, count, self._bytes)
        self._bytes += count

    def start_deadline(self, seconds: float) -> None:
        self.deadline = time.monotonic() + seconds

    def cancel(self) -> None:
        """Stop the threads that work on the request at their next `check`."""
        self.deadline = float("-inf")

    def check(self) -> None:
        """Raise DeadlineExceeded after the deadline or `cancel`."""
        if time.monotonic() > self.deadline:
            raise DeadlineExceeded("the answer was not ready in time")

    def charge_pixels(self, count: int) -> None:
        """Check the deadline, and raise Deferred if the pixel budget is exceeded."""
        self.check()
        self.pixel_budget -= count
        if self.pixel_budget < 0:
            raise Deferred
