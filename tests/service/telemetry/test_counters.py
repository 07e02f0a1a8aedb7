"""Counters shared by several workers, which outlive the workers."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from service.telemetry.counters import Metric, Storage


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[list[Storage]]:
    storages = [Storage(tmp_path) for _ in range(3)]
    yield storages
    for storage in storages:
        storage.close()


def add(storage: Storage, name: str, amount: float) -> None:
    with storage.lock:
        Metric(storage, name).add((), amount)


def values_of(storage: Storage, name: str) -> list[float]:
    """Return each worker's value of a metric without labels, or 0."""
    return [sum(shard.series.get((name, ()), [0])) for shard in storage.read()]


def test_every_worker_reads_the_counts_of_all_workers(workers: list[Storage]) -> None:
    for number, storage in enumerate(workers):
        add(storage, "requests", number + 1)
    assert [storage.worker for storage in workers] == [0, 1, 2]
    assert [values_of(storage, "requests") for storage in workers] == [[1, 2, 3]] * 3


def test_replacement_worker_continues_the_counts_of_an_ended_worker(
    workers: list[Storage], tmp_path: Path
) -> None:
    add(workers[1], "requests", 5)
    workers[1].close()
    [_, gone, _] = workers[0].read()
    assert (gone.pid, values_of(workers[0], "requests")) == (0, [0, 5, 0])
    replacement = Storage(tmp_path)
    add(replacement, "requests", 1)
    add(replacement, "images", 7)
    assert replacement.worker == 1
    assert values_of(workers[0], "requests") == [0, 6, 0]
    assert values_of(workers[0], "images") == [0, 7, 0]
    assert all(shard.pid for shard in workers[0].read())
    replacement.close()


def test_partially_written_series_of_a_killed_worker_is_dropped(
    workers: list[Storage], tmp_path: Path
) -> None:
    add(workers[2], "requests", 5)
    workers[2].close()
    with (tmp_path / "2.keys").open("ab") as keys:
        keys.write(b'["imag')
    assert values_of(workers[0], "requests") == [0, 0, 5]
    replacement = Storage(tmp_path)
    add(replacement, "images", 2)
    assert values_of(workers[0], "requests") == [0, 0, 5]
    assert values_of(workers[0], "images") == [0, 0, 2]
    replacement.close()


def test_starting_worker_with_empty_files_has_no_counts(
    workers: list[Storage], tmp_path: Path
) -> None:
    (tmp_path / "3.keys").touch()
    assert values_of(workers[0], "requests") == [0, 0, 0, 0]
    (tmp_path / "3.values").touch()
    assert values_of(workers[0], "requests") == [0, 0, 0, 0]


@pytest.mark.parametrize("shared", [True, False])
def test_storage_grows_with_the_number_of_series(tmp_path: Path, shared: bool) -> None:
    storage = Storage(tmp_path if shared else None)
    requests = Metric(storage, "requests")
    with storage.lock:
        for number in range(10_000):
            requests.add((number,), number)
    [shard] = storage.read()
    assert shard.series == {("requests", (number,)): [number] for number in range(10_000)}
    storage.close()


def test_replacement_worker_resets_gauges_to_zero(workers: list[Storage], tmp_path: Path) -> None:
    def in_flight(storage: Storage) -> Metric:
        return Metric(storage, "in_flight", "Now.", ["route"], kind="gauge")

    with workers[1].lock:
        in_flight(workers[1]).add(("/a",), 5)
    assert workers[0].read()[1].series == {("in_flight", ("/a",)): [5]}
    workers[1].close()
    replacement = Storage(tmp_path)
    in_flight(replacement)
    assert workers[0].read()[1].series == {("in_flight", ("/a",)): [0]}
    replacement.close()


def test_histogram_counts_by_upper_bound_and_sums_values() -> None:
    storage = Storage()
    seconds = Metric(storage, "seconds", "", ["phase"], (1.0, 2.0), kind="histogram")
    for value in (0.0, 1.0, 1.5, 2.0, 9.0):
        seconds.observe(("x",), value)
    [shard] = storage.read()
    assert shard.series == {("seconds", ("x",)): [2, 2, 1, 13.5]}
