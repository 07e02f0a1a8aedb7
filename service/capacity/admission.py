"""What the service has accepted and not yet answered, and what one request may still use.

Past its capacity the service refuses at once: a request that would wait longer than its client
does costs the same work and helps nobody.
"""

import threading
import time
from collections.abc import Callable
from typing import Self

from service.errors import DeadlineExceeded, Draining, Overloaded
from service.capacity.parallel import Helpers


class Admission:
    """Counts images and bytes in flight. Its methods may be called from several threads.

    Args:
        max_images: Most images there may be.
        max_bytes: Most bytes of bodies there may be.
        count: Is told by how many the images have become more.
    """

    def __init__(
        self, *, max_images: int, max_bytes: int, count: Callable[[int], None] | None = None
    ) -> None:
        self._max_images = max_images
        self._max_bytes = max_bytes
        self._images = 0
        self._bytes = 0
        self._closed_at: float | None = None
        self._lock = threading.Lock()
        self._count = count or (lambda _: None)

    @property
    def images(self) -> int:
        """Images accepted and not yet answered, whether they wait or are worked on."""
        return self._images

    @property
    def bytes(self) -> int:
        """Bytes of bodies that are held in memory."""
        return self._bytes

    @property
    def is_open(self) -> bool:
        """Whether new requests are taken."""
        return self._closed_at is None

    def close(self) -> None:
        """Take no new request; what is in flight goes on."""
        self._closed_at = time.monotonic()

    def left_of(self, seconds: float) -> float:
        """Return what is left of a time that begins when no new request is taken any more."""
        if self._closed_at is None:
            return seconds
        return max(0, seconds - (time.monotonic() - self._closed_at))

    def admit(self, images: int = 1, byte_count: int = 0) -> "Ticket":
        """Take a request in, to be left with `with`.

        Args:
            images: How many it will have, as far as that is known before its body is read.
            byte_count: Of the body, as far as it is there.

        Raises:
            Draining: The process is about to end.
            Overloaded: There are too many images or bytes in flight.
        """
        self._check_open()
        self.take(images, byte_count)
        return Ticket(self, images, byte_count)

    def check(self, images: int = 1) -> None:
        """Raise what `admit` would, and take nothing in."""
        self._check_open()
        self._check(images, 0)

    def _check_open(self) -> None:
        if not self.is_open:
            raise Draining("the service is about to stop; another instance may answer")

    def take(self, images: int, byte_count: int) -> None:
        """Count more, or raise Overloaded."""
        with self._lock:
            self._check(images, byte_count)
            self._images += images
            self._bytes += byte_count
        if images:
            self._count(images)

    def _check(self, images: int, byte_count: int) -> None:
        if self._images + images > self._max_images:
            raise Overloaded(
                f"{self._images} images are in flight, the most there may be is {self._max_images}"
            )
        if self._bytes + byte_count > self._max_bytes:
            raise Overloaded(
                f"{self._bytes} bytes are in flight, the most there may be is {self._max_bytes}"
            )

    def give_back(self, images: int, byte_count: int) -> None:
        """Count less."""
        with self._lock:
            self._images -= images
            self._bytes -= byte_count
        if images:
            self._count(-images)


class GiveWay(BaseException):
    """The job is too long for the lane it is in and starts again in the other.

    Like `GeneratorExit` no failure: nothing on the way may count it or answer it as one.
    """


class Ticket:
    """The place of one request, shared by who receives it and the threads that work on it.

    It is given back when the last of them leaves: work that its client no longer waits for still
    takes the place it takes. Those who work ask it between their steps whether to go on.

    Attributes:
        deadline: When the answer is due, in seconds of `time.monotonic()`.
        pixels_in_lane: Pixels that may be decoded before the request has to give way.
        helpers: Who may help with its pictures, if anybody.
        is_expected: Whether it is known to take long, and that its turn will come in time.
    """

    __slots__ = (
        "_admission",
        "_bytes",
        "_cancelled",
        "_images",
        "_lock",
        "_users",
        "deadline",
        "helpers",
        "is_expected",
        "pixels_in_lane",
    )

    def __init__(self, admission: Admission, images: int, byte_count: int) -> None:
        self.deadline = float("inf")
        self.pixels_in_lane = float("inf")
        self.helpers: Helpers | None = None
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
            last = self._users == 0
        if last:
            self._admission.give_back(self._images, self._bytes)

    def hold_images(self, count: int) -> None:
        """Take places for all images of the request, once their number is known.

        Raises:
            Overloaded: There are not enough.
        """
        if count > self._images:
            self._admission.take(count - self._images, 0)
            self._images = count

    def hold_bytes(self, count: int) -> None:
        """Take room for that many more bytes of the body.

        Raises:
            Overloaded: There is not enough.
        """
        self._admission.take(0, count)
        self._bytes += count

    def start_clock(self, seconds: float) -> None:
        """Have the answer be due in so many seconds."""
        self.deadline = time.monotonic() + seconds

    def cancel(self) -> None:
        """Have whoever works on the request stop at the next step."""
        self._cancelled = True

    def check(self) -> None:
        """Return if somebody waits for the answer.

        Raises:
            DeadlineExceeded: Nobody does.
        """
        if self._cancelled or time.monotonic() > self.deadline:
            raise DeadlineExceeded("the answer was not ready in time")

    def weigh(self, pixels: int) -> None:
        """Ask before decoding a picture.

        Raises:
            DeadlineExceeded: Nobody waits for the answer.
            GiveWay: The request has more pixels than its lane takes.
        """
        self.check()
        self.pixels_in_lane -= pixels
        if self.pixels_in_lane < 0:
            raise GiveWay
