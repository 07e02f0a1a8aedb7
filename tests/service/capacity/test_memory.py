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
    reason="only glibc keeps freed memory and has malloc_trim",
)


@pytest.fixture(scope="module")
def process() -> Iterator[ProcessPoolExecutor]:
    """A new process, because other tests leave threads and free memory in this one."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, spawn, initializer=_tune) as pool:
        yield pool


def _tune() -> None:
    memory.PAUSE_SECONDS = 0.05
    memory.tune_memory()


def resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / MIB


def release() -> None:
    """Run `release_memory` for some rounds."""

    async def run() -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(memory.release_memory(), 6 * memory.PAUSE_SECONDS)

    asyncio.run(run())


def release_fragmented_memory() -> float:
    """Return how many MiB are released of 64 MiB that are free between small blocks in use."""
    blocks = [b"x" * (16 * 1024) for _ in range(64 * 64)]
    kept = blocks[::64]
    del blocks
    before = resident_mib()
    release()
    assert len(kept) == 64
    return before - resident_mib()


def test_fragmented_free_memory_is_returned_to_the_system(
    process: ProcessPoolExecutor,
) -> None:
    assert process.submit(release_fragmented_memory).result(120) > 40


def release_large_block() -> tuple[float, float]:
    """Return how many MiB of a block of 20 MiB remain once it is freed, and after a release."""
    release()
    before = resident_mib()
    block = b"x" * (20 * MIB)
    del block
    freed = resident_mib() - before
    release()
    return freed, resident_mib() - before


def test_freed_large_block_is_kept_until_the_next_release(
    process: ProcessPoolExecutor,
) -> None:
    freed, released = process.submit(release_large_block).result(120)
    assert freed > 15
    assert released < 5


def release_block_of_a_thread() -> tuple[float, float]:
    """Return the same for a block that a thread has freed."""
    before = resident_mib()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: len(b"x" * (20 * MIB))).result()
        freed = resident_mib() - before
        release()
    return freed, resident_mib() - before


def test_free_memory_of_threads_is_returned_to_the_system(process: ProcessPoolExecutor) -> None:
    freed, released = process.submit(release_block_of_a_thread).result(120)
    assert freed > 15
    assert released < 5


class Node:
    """Part of a reference cycle."""

    def __init__(self) -> None:
        self.itself = self


def make_old_garbage() -> weakref.ref[Node]:
    """Return a reference to a cycle that only a full collection finds."""
    node = Node()
    gc.collect(1)
    reference = weakref.ref(node)
    del node
    gc.collect(1)
    return reference


def check_collection_of_old_garbage(has_glibc: bool) -> None:
    """Assert that a full collection follows the pauses, and none happens before."""

    async def run() -> None:
        releasing = asyncio.create_task(memory.release_memory())
        await asyncio.sleep(memory.PAUSES_OF_GARBAGE / 2 * memory.PAUSE_SECONDS)
        assert reference() is not None
        async with asyncio.timeout(60):
            while reference() is not None:
                await asyncio.sleep(memory.PAUSE_SECONDS)
        releasing.cancel()

    with pytest.MonkeyPatch.context() as patch:
        if not has_glibc:
            patch.setattr(memory, "_glibc", None)
            memory.tune_memory()
        reference = make_old_garbage()
        asyncio.run(run())


@pytest.mark.parametrize("has_glibc", [True, False])
def test_old_garbage_is_collected_after_several_pauses_and_not_before(
    has_glibc: bool, process: ProcessPoolExecutor
) -> None:
    process.submit(check_collection_of_old_garbage, has_glibc).result(120)


def test_image_waits_for_memory_in_use_by_other_images() -> None:
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
            pytest.fail("it did not wait for memory")
        second = pool.submit(decode_second)
        first_may_go.set()
        first.result(20)
        second.result(20)
    assert order == ["first", "second"]


def test_failed_image_is_freed_before_its_memory_is_available() -> None:
    class Pixels(list[int]):
        """A list that can have weak references."""

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
