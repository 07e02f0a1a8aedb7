"""Limits the memory of images, and returns free memory to the system now and then.

The C library returns large blocks at once, and a good part of preparing a photograph goes into
getting them back; small ones it keeps for good after a rush of requests. So it is told to keep
everything, and to return everything every few seconds.
"""

import asyncio
import ctypes
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from service.errors import DeadlineExceeded

PAUSE_SECONDS = 2.0

MAX_IMAGE_BYTES = 160 * 1024 * 1024
"""Of images that a worker decodes at a time, before they are reduced."""

_SMALL_IMAGE_BYTES = 1024 * 1024  # Such an image waits for no other.
_LARGE_IMAGE_BYTES = 16 * 1024 * 1024  # After such a one, memory is returned at once.

_free_bytes = MAX_IMAGE_BYTES
_change = threading.Condition()


@contextmanager
def image_memory(byte_count: int, deadline: float) -> Iterator[None]:
    """Hold memory for an image that is decoded in the block and forgotten in it.

    Args:
        byte_count: At most `MAX_IMAGE_BYTES`.
        deadline: In seconds of `time.monotonic()`.

    Raises:
        DeadlineExceeded: There was not enough memory until then.
    """
    global _free_bytes  # noqa: PLW0603 (as the memory is the process's)
    if byte_count < _SMALL_IMAGE_BYTES:
        yield
        return
    with _change:
        seconds = min(deadline - time.monotonic(), threading.TIMEOUT_MAX)
        if not _change.wait_for(lambda: _free_bytes >= byte_count, seconds):
            raise DeadlineExceeded("other pictures took the memory for too long")
        _free_bytes -= byte_count
    try:
        yield
    except BaseException as error:
        traceback.clear_frames(error.__traceback__)  # They refer to the image.
        raise
    finally:
        if byte_count > _LARGE_IMAGE_BYTES and _library is not None:
            _library.malloc_trim(0)
        with _change:
            _free_bytes += byte_count
            _change.notify_all()


def _load_library() -> ctypes.CDLL | None:
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    return library if hasattr(library, "malloc_trim") else None


_library = _load_library()


async def release_memory(jobs_done: Callable[[], int]) -> None:
    """Return free memory whenever `jobs_done` has risen; ends at once where glibc is missing."""
    library = _library
    if library is None:
        return
    library.mallopt(-3, 32 << 20)  # M_MMAP_THRESHOLD: blocks up to this size are kept
    library.mallopt(-1, 64 << 20)  # M_TRIM_THRESHOLD: as many bytes at the end of the heap
    library.mallopt(-2, 1 << 20)  # M_TOP_PAD: and so many more are asked for at once
    before = jobs_done()
    while True:
        await asyncio.sleep(PAUSE_SECONDS)
        if (done := jobs_done()) != before:
            before = done
            await asyncio.to_thread(library.malloc_trim, 0)  # Releases the interpreter's lock.
