"""Returns free memory to the system now and then.

The C library returns large blocks at once and has to ask for them again for the next photograph,
a good part of what preparing one takes; small ones it keeps for good after a rush of requests. So
it is told to keep everything, and to return everything every few seconds.
"""

import asyncio
import ctypes
import sys
from collections.abc import Callable

KEPT_BYTES = {
    -3: 32 << 20,  # M_MMAP_THRESHOLD: blocks up to this size are kept
    -1: 64 << 20,  # M_TRIM_THRESHOLD: as many at the end of the heap
    -2: 1 << 20,  # M_TOP_PAD: and so many more are asked for at once
}
"""Parameters of mallopt(3)."""

PAUSE_SECONDS = 2.0


async def release_memory(jobs_done: Callable[[], int]) -> None:
    """Return free memory whenever `jobs_done` has risen; ends at once where glibc is missing."""
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if library is None or not hasattr(library, "malloc_trim"):
        return
    for parameter, size in KEPT_BYTES.items():
        library.mallopt(parameter, size)
    before = jobs_done()
    while True:
        await asyncio.sleep(PAUSE_SECONDS)
        if (done := jobs_done()) != before:
            before = done
            await asyncio.to_thread(library.malloc_trim, 0)  # Releases the interpreter's lock.
