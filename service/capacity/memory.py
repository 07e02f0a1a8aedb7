"""Limits the memory of decoded images, and returns free memory to the system periodically.

By default glibc returns large blocks at once, which makes every photograph pay for page faults, and
never returns small ones after a burst. Here it keeps all, and returns all every few seconds.
"""

import asyncio
import ctypes
import gc
import itertools
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import DeadlineExceeded

PAUSE_SECONDS = 2.0
PAUSES_OF_GARBAGE = 30  # Pauses between two full garbage collections.

MAX_IMAGE_BYTES = 160 * 1024 * 1024  # Of all images that are being decoded.

# Images below the first size do not wait; after one above the second, memory is returned at once.
_SMALL_BYTES, _LARGE_BYTES = 2**20, 2**24

_libc = ctypes.CDLL(None) if sys.platform == "linux" else None
_glibc = _libc if hasattr(_libc, "malloc_trim") else None

_images: list[int] = []  # Bytes of each.
_change = threading.Condition()


@contextmanager
def image_memory(byte_count: int, deadline: float) -> Iterator[None]:
    """Reserve memory for an image during the block, which must not keep the image.

    Raises DeadlineExceeded if none is free before the deadline, in seconds of `time.monotonic()`.
    """
    if byte_count < _SMALL_BYTES:
        yield
        return
    with _change:
        seconds = min(deadline - time.monotonic(), threading.TIMEOUT_MAX)
        if not _change.wait_for(lambda: sum(_images) + byte_count <= MAX_IMAGE_BYTES, seconds):
            raise DeadlineExceeded("other images held the memory for too long")
        _images.append(byte_count)
    try:
        yield
    except BaseException as error:
        traceback.clear_frames(error.__traceback__)  # They refer to the image.
        raise
    finally:
        if byte_count > _LARGE_BYTES and _glibc:
            _glibc.malloc_trim(0)  # Releases the GIL.
        with _change:
            _images.remove(byte_count)
            _change.notify_all()


def tune_memory() -> None:
    """Set how the process keeps memory, before it has threads."""
    gc.set_threshold(*gc.get_threshold()[:2], 1_000_000)  # Full collections are `release_memory`'s.
    if _glibc:
        _glibc.mallopt(-8, 1)  # M_ARENA_MAX: malloc_trim leaves the ends of threads' arenas
        _glibc.mallopt(-3, 32 << 20)  # M_MMAP_THRESHOLD: keep blocks up to this size
        _glibc.mallopt(-1, 64 << 20)  # M_TRIM_THRESHOLD: keep as much at the top of the heap
        _glibc.mallopt(-2, 1 << 20)  # M_TOP_PAD: grow the heap in such steps


async def release_memory() -> None:
    """Return free memory to the system every few seconds, and collect all garbage every minute.

    Among the objects of thousands of stalled requests, a full collection holds the event loop for
    a tenth of a second, and Python's own come whenever these have grown by a quarter.
    """
    for pause in itertools.count(1):
        await asyncio.sleep(PAUSE_SECONDS)
        if pause % PAUSES_OF_GARBAGE == 0:
            gc.collect()
        if _glibc:
            await asyncio.to_thread(_glibc.malloc_trim, 0)  # Microseconds if there is none.
