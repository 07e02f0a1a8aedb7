"""Gives memory that is free back to the system.

The C library keeps what was freed for whoever allocates next. Bodies of photographs that waited
side by side leave holes between what is still in use, and a rush of them would stay resident for
good.
"""

import asyncio
import ctypes
import sys
from collections.abc import Callable

PAUSE_SECONDS = 2.0
"""Between two times: what is given back has to be asked for again."""


async def give_back_memory(jobs_done: Callable[[], int]) -> None:
    """Give back what is free now and then, as long as there is work; returns where it cannot.

    Args:
        jobs_done: Tells how many jobs there have been. If there was none since the last time, there
            is nothing to give.
    """
    trim = _trim()
    if trim is None:
        return
    before = jobs_done()
    while True:
        await asyncio.sleep(PAUSE_SECONDS)
        if (done := jobs_done()) != before:
            before = done
            await asyncio.to_thread(trim, 0)  # Without the interpreter's lock.


def _trim() -> Callable[[int], int] | None:
    """Return glibc's malloc_trim(3), or None where there is another C library."""
    if sys.platform != "linux":
        return None
    trim: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return trim
