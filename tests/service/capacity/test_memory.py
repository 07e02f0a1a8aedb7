import asyncio
import contextlib
import ctypes
import gc
import multiprocessing
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import pytest

from service.capacity import memory
from service.capacity.memory import MAX_IMAGE_BYTES, image_memory
from service.errors import DeadlineExceeded

MIB = 2**20

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "malloc_trim"),
    reason="only glibc keeps memory this way and can be told not to",
)


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(memory, "PAUSE_SECONDS", 0.05)
    thresholds = gc.get_threshold()
    memory.tune_memory()
    yield
    gc.set_threshold(*thresholds)


def resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / MIB


def leave_holes() -> list[bytes]:
    """Return a few small blocks with 64 MiB between them that are free and that glibc keeps."""
    blocks = [bytes(16 * 1024) for _ in range(64 * 64)]
    return blocks[::64]


def release() -> None:
    """Let it run for some rounds."""

    async def run() -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(memory.release_memory(), 6 * memory.PAUSE_SECONDS)

    asyncio.run(run())


def test_free_memory_between_blocks_in_use_is_returned_to_the_system() -> None:
    kept = leave_holes()
    before = resident_mib()
    release()
    assert before - resident_mib() > 40
    assert len(kept) == 64


def test_a_large_block_that_was_freed_stays_until_the_next_release() -> None:
    release()
    before = resident_mib()
    block = b"x" * (20 * MIB)
    del block
    assert resident_mib() - before > 15
    release()
    assert resident_mib() - before < 5


def resident_after_thread() -> float:
    """Return by how many MiB the process has grown after a thread has freed what it needed."""
    memory.PAUSE_SECONDS = 0.05
    memory.tune_memory()
    before = resident_mib()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: len(b"x" * (20 * MIB))).result()
        grown = resident_mib() - before
        release()
    assert grown > 15
    return resident_mib() - before


def test_free_memory_of_threads_is_returned_to_the_system() -> None:
    # In a process of its own: this one may have threads with memory of their own already.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        assert pool.submit(resident_after_thread).result(120) < 5


class Node:
    """Part of a reference cycle."""

    def __init__(self) -> None:
        self.itself = self


def old_garbage() -> weakref.ref[Node]:
    """Return a reference to a cycle that only a full collection finds."""
    node = Node()
    gc.collect(1)
    reference = weakref.ref(node)
    del node
    gc.collect(1)
    return reference


def watch_old_garbage(platform: str) -> None:
    """Expect that a full collection comes after the pauses, and none before."""

    async def run() -> None:
        releasing = asyncio.create_task(memory.release_memory())
        await asyncio.sleep(memory.PAUSES_OF_GARBAGE / 2 * memory.PAUSE_SECONDS)
        assert reference() is not None
        async with asyncio.timeout(60):
            while reference() is not None:
                await asyncio.sleep(memory.PAUSE_SECONDS)
        releasing.cancel()

    sys.platform = platform
    memory.PAUSE_SECONDS = 0.05
    memory.tune_memory()
    reference = old_garbage()
    asyncio.run(run())


@pytest.mark.parametrize("platform", ["linux", "darwin"])  # With and without glibc.
def test_garbage_is_collected_every_minute_and_not_before(platform: str) -> None:
    # In a process of its own: an application that serves other tests in this one collects as well.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        pool.submit(watch_old_garbage, platform).result(120)


def test_an_image_waits_for_the_memory_that_others_have() -> None:
    first_is_in, first_may_go = threading.Event(), threading.Event()
    order = []

    def decode_first() -> None:
        with image_memory(MAX_IMAGE_BYTES // 2 + 1, float("inf")):
            first_is_in.set()
            assert first_may_go.wait(20)
            order.append("first")

    def decode_second() -> None:
        with image_memory(MAX_IMAGE_BYTES // 2, float("inf")):
            order.append("second")

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(decode_first)
        assert first_is_in.wait(20)
        with image_memory(MAX_IMAGE_BYTES // 2 - 1, float("inf")), image_memory(MIB - 1, 0):
            pass  # There is room for both.
        with (
            pytest.raises(DeadlineExceeded, match="memory"),
            image_memory(MAX_IMAGE_BYTES // 2, time.monotonic() + 0.05),
        ):
            pytest.fail("it got in")
        second = pool.submit(decode_second)
        first_may_go.set()
        first.result(20)
        second.result(20)
    assert order == ["first", "second"]


def test_a_failed_image_is_forgotten_before_the_next_may_come() -> None:
    class Pixels(list[int]):
        """What can be watched."""

    watched = []

    def fail() -> None:
        pixels = Pixels()
        watched.append(weakref.ref(pixels))
        raise ValueError("damaged")

    with pytest.raises(ValueError, match="damaged"), image_memory(MAX_IMAGE_BYTES, float("inf")):
        fail()
    assert watched[0]() is None
    with image_memory(MAX_IMAGE_BYTES, time.monotonic() + 1):
        pass
