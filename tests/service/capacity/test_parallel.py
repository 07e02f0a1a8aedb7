import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from service.capacity.parallel import WORTH_SHARING_BYTES, Helpers, do_all

SECONDS = 20
LARGE = 100 * WORTH_SHARING_BYTES


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


def test_threads_that_are_free_work_at_the_same_time_as_the_caller(
    pool: ThreadPoolExecutor,
) -> None:
    all_three = threading.Barrier(3)

    def work(number: int) -> tuple[int, str]:
        all_three.wait(SECONDS)
        return number, threading.current_thread().name

    results = do_all(work, range(3), LARGE, Helpers(pool, 2))
    assert [number for number, _ in results] == [0, 1, 2]
    assert len({name for _, name in results}) == 3


def test_the_caller_does_all_of_it_if_nobody_is_free(pool: ThreadPoolExecutor) -> None:
    may_end = threading.Event()
    others = [pool.submit(may_end.wait, SECONDS) for _ in range(2)]
    me = threading.current_thread()
    threads = do_all(lambda _: threading.current_thread(), range(5), LARGE, Helpers(pool, 2))
    assert threads == [me] * 5
    assert not any(other.done() for other in others)
    may_end.set()


@pytest.mark.parametrize("byte_count", [0, 5 * WORTH_SHARING_BYTES - 1])
def test_what_is_small_is_not_shared(pool: ThreadPoolExecutor, byte_count: int) -> None:
    me = threading.current_thread()
    threads = do_all(lambda _: threading.current_thread(), range(5), byte_count, Helpers(pool, 2))
    assert threads == [me] * 5


@pytest.mark.parametrize("wrong", [[0], [3], [1, 2], [0, 9], [9]])
def test_the_first_item_that_fails_is_the_one_that_is_told(
    pool: ThreadPoolExecutor, wrong: list[int]
) -> None:
    def work(number: int) -> int:
        if number in wrong:
            raise ValueError(number)
        return number

    for helpers in (Helpers(pool, 2), None):
        with pytest.raises(ValueError, match=f"^{wrong[0]}$"):
            do_all(work, range(10), LARGE, helpers)


def test_nothing_goes_on_after_a_failure(pool: ThreadPoolExecutor) -> None:
    done: list[int] = []
    lock = threading.Lock()

    def work(number: int) -> None:
        with lock:
            done.append(number)
        raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        do_all(work, range(1000), LARGE, Helpers(pool, 2))
    assert len(done) <= 3
    assert done == sorted(done)
