"""Several workers keep one set of numbers, and a worker that ends loses none of them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from service.telemetry.counters import Family, Metric, Storage


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[list[Storage]]:
    storages = [Storage(tmp_path) for _ in range(3)]
    yield storages
    for storage in storages:
        storage.close()


def add(storage: Storage, name: str, amount: float) -> None:
    with storage.lock:
        Family(storage, name).add((), amount)


def counted(storage: Storage, name: str) -> list[float]:
    """Return what each worker has of a metric without labels; 0 if it has none."""
    return [sum(shard.series.get((name, ()), [0])) for shard in storage.read()]


def test_every_worker_reads_what_all_workers_counted(workers: list[Storage]) -> None:
    for number, storage in enumerate(workers):
        add(storage, "requests", number + 1)
    assert [storage.worker for storage in workers] == [0, 1, 2]
    assert [counted(storage, "requests") for storage in workers] == [[1, 2, 3]] * 3


def test_a_successor_continues_the_numbers_of_a_worker_that_has_ended(
    workers: list[Storage], tmp_path: Path
) -> None:
    add(workers[1], "requests", 5)
    workers[1].close()
    [_, gone, _] = workers[0].read()
    assert (gone.pid, counted(workers[0], "requests")) == (0, [0, 5, 0])
    successor = Storage(tmp_path)
    add(successor, "requests", 1)
    add(successor, "images", 7)
    assert successor.worker == 1
    assert counted(workers[0], "requests") == [0, 6, 0]
    assert counted(workers[0], "images") == [0, 7, 0]
    assert all(shard.pid for shard in workers[0].read())
    successor.close()


def test_a_half_written_series_of_a_killed_worker_is_dropped(
    workers: list[Storage], tmp_path: Path
) -> None:
    add(workers[2], "requests", 5)
    workers[2].close()
    with (tmp_path / "2.keys").open("ab") as keys:
        keys.write(b'["imag')
    assert counted(workers[0], "requests") == [0, 0, 5]
    successor = Storage(tmp_path)
    add(successor, "images", 2)
    assert counted(workers[0], "requests") == [0, 0, 5]
    assert counted(workers[0], "images") == [0, 0, 2]
    successor.close()


def test_a_worker_that_is_only_just_starting_has_counted_nothing(
    workers: list[Storage], tmp_path: Path
) -> None:
    (tmp_path / "3.keys").touch()
    assert counted(workers[0], "requests") == [0, 0, 0, 0]
    (tmp_path / "3.values").touch()
    assert counted(workers[0], "requests") == [0, 0, 0, 0]


@pytest.mark.parametrize("shared", [True, False])
def test_storage_grows_with_the_number_of_series(tmp_path: Path, shared: bool) -> None:
    storage = Storage(tmp_path if shared else None)
    requests = Family(storage, "requests")
    with storage.lock:
        for number in range(10_000):
            requests.add((number,), number)
    [shard] = storage.read()
    assert shard.series == {("requests", (number,)): [number] for number in range(10_000)}
    storage.close()


def test_a_successor_starts_with_gauges_at_zero(workers: list[Storage], tmp_path: Path) -> None:
    def in_flight(storage: Storage) -> Metric:
        return Metric(storage, "in_flight", "Now.", ["route"], kind="gauge")

    with workers[1].lock:
        in_flight(workers[1]).add(("/a",), 5)
    assert workers[0].read()[1].series == {("in_flight", ("/a",)): [5]}
    workers[1].close()
    successor = Storage(tmp_path)
    in_flight(successor)
    assert workers[0].read()[1].series == {("in_flight", ("/a",)): [0]}
    successor.close()


def test_a_histogram_counts_by_upper_bounds_and_adds_up() -> None:
    storage = Storage()
    seconds = Metric(storage, "seconds", "", ["phase"], (1.0, 2.0), kind="histogram")
    for value in (0.0, 1.0, 1.5, 2.0, 9.0):
        seconds.observe(("x",), value)
    [shard] = storage.read()
    assert shard.series == {("seconds", ("x",)): [2, 2, 1, 13.5]}
