import asyncio
import ctypes
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest

from service.capacity import memory

MIB = 2**20

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "malloc_trim"),
    reason="only glibc keeps memory this way and can be told not to",
)


def resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / MIB


def leave_holes() -> list[bytes]:
    """Return a few small pieces with 64 MiB between them that are free and that glibc keeps."""
    pieces = [bytes(16 * 1024) for _ in range(64 * 64)]
    return pieces[::64]


def tidy(jobs: list[int]) -> None:
    async def tidy_once() -> None:
        tidying = asyncio.create_task(memory.give_back_memory(lambda: jobs.pop(0)))
        while jobs and not tidying.done():
            await asyncio.sleep(0.01)
        tidying.cancel()
        await asyncio.wait([tidying])
        if not tidying.cancelled():
            assert isinstance(tidying.exception(), IndexError)  # It has asked once too often.

    asyncio.run(tidy_once())


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "PAUSE_SECONDS", 0.05)


def test_memory_between_what_is_in_use_goes_back_to_the_system() -> None:
    kept = leave_holes()
    before = resident_mib()
    tidy([0, 1, 2])
    assert before - resident_mib() > 40
    assert len(kept) == 64


def test_an_idle_service_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    library = Mock()
    monkeypatch.setattr(memory, "_glibc", lambda: library)
    tidy([7, 7, 7, 7])
    assert not library.malloc_trim.called
    tidy([7, 7, 8, 8])
    library.malloc_trim.assert_called_once_with(0)


def test_a_large_piece_that_was_freed_stays_until_the_next_time() -> None:
    tidy([7, 7])  # tells the library
    before = resident_mib()
    piece = b"x" * (20 * MIB)
    del piece
    assert resident_mib() - before > 15
    tidy([0, 1, 2])
    assert resident_mib() - before < 5


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    asyncio.run(memory.give_back_memory(lambda: 0))
