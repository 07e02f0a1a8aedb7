import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from service.capacity.parallel import MIN_SHARED_BYTES, WorkerThreads, parallel_map

SECONDS = 20


@pytest.fixture
def workers() -> Iterator[WorkerThreads]:
    with ThreadPoolExecutor(2) as executor:
        yield WorkerThreads(executor, 2)


def current_thread(_: int) -> threading.Thread:
    return threading.current_thread()


def test_free_threads_work_concurrently_with_the_caller(workers: WorkerThreads) -> None:
    all_three = threading.Barrier(3)

    def work(number: int) -> tuple[int, str]:
        all_three.wait(SECONDS)
        return number, threading.current_thread().name

    results = parallel_map(work, range(3), workers)
    assert [number for number, _ in results] == [0, 1, 2]
    assert len({name for _, name in results}) == 3


def test_caller_does_all_work_if_no_thread_is_free(workers: WorkerThreads) -> None:
    may_end = threading.Event()
    others = [workers.executor.submit(may_end.wait, SECONDS) for _ in range(2)]
    assert parallel_map(current_thread, range(5), workers) == [threading.current_thread()] * 5
    assert not any(other.done() for other in others)
    may_end.set()


@pytest.mark.parametrize("total_bytes", [0, 5 * MIN_SHARED_BYTES - 1])
def test_small_items_are_processed_by_the_caller_alone(
    workers: WorkerThreads, total_bytes: int
) -> None:
    threads = parallel_map(current_thread, range(5), workers, total_bytes=total_bytes)
    assert threads == [threading.current_thread()] * 5


@pytest.mark.parametrize("wrong", [[0], [3], [1, 2], [0, 9], [9]])
def test_exception_of_the_first_failing_item_is_raised(
    workers: WorkerThreads, wrong: list[int]
) -> None:
    def work(number: int) -> int:
        if number in wrong:
            raise ValueError(number)
        return number

    for each in (workers, None):
        with pytest.raises(ValueError, match=f"^{wrong[0]}$"):
            parallel_map(work, range(10), each)


def test_no_further_items_start_after_a_failure(workers: WorkerThreads) -> None:
    done: list[int] = []
    lock = threading.Lock()

    def work(number: int) -> None:
        with lock:
            done.append(number)
        raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        parallel_map(work, range(1000), workers)
    assert len(done) <= 3
    assert done == sorted(done)


def test_no_items_return_no_results(workers: WorkerThreads) -> None:
    assert parallel_map(current_thread, [], workers) == []
