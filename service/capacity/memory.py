"""Gives memory that is free back to the system, at its own time.

Of what was freed, the C library gives large pieces back at once, and has to ask for them again for
the next photograph: a good part of what preparing one takes. The rest it keeps for whoever
allocates next. Bodies that waited side by side leave holes between what is still in use, and a rush
of them would stay resident for good. So it is told to keep everything, and to give everything back
now and then.
"""

import asyncio
import ctypes
import sys
from collections.abc import Callable

KEPT_BYTES = {
    -3: 32 << 20,  # M_MMAP_THRESHOLD: pieces up to this size are kept
    -1: 64 << 20,  # M_TRIM_THRESHOLD: as many at the end of the heap
    -2: 1 << 20,  # M_TOP_PAD: and so many more are asked for at once
}
"""Parameters of mallopt(3)."""

PAUSE_SECONDS = 2.0
"""Between two times: what is given back has to be asked for again."""


async def give_back_memory(jobs_done: Callable[[], int]) -> None:
    """Give back what is free now and then, as long as there is work; returns where it cannot.

    Args:
        jobs_done: Tells how many jobs there have been. If there was none since the last time, there
            is nothing to give.
    """
    library = _glibc()
    if library is None:
        return
    for parameter, size in KEPT_BYTES.items():
        library.mallopt(parameter, size)
    before = jobs_done()
    while True:
        await asyncio.sleep(PAUSE_SECONDS)
        if (done := jobs_done()) != before:
            before = done
            await asyncio.to_thread(library.malloc_trim, 0)  # Without the interpreter's lock.


def _glibc() -> ctypes.CDLL | None:
    """Return the C library, or None where it is another one."""
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    return library if hasattr(library, "malloc_trim") else None
