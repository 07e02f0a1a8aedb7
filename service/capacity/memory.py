"""Returns free memory to the system now and then.

The C library returns large blocks at once, and a good part of preparing a photograph goes into
getting them back; small ones it keeps for good after a rush of requests. So it is told to keep
everything, and to return everything every few seconds.
"""

import asyncio
import ctypes
import sys
from collections.abc import Callable

PAUSE_SECONDS = 2.0


async def release_memory(jobs_done: Callable[[], int]) -> None:
    """Return free memory whenever `jobs_done` has risen; ends at once where glibc is missing."""
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if library is None or not hasattr(library, "malloc_trim"):
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
