"""Each version has its totals, over all workers and by the number of images in a request."""

from pathlib import Path

from service.telemetry.counters import Storage
from service.telemetry.record import Phase, RequestRecord
from service.telemetry.statistics import Duration, Statistics

PHASES: dict[Phase, int] = {
    "receive": 1000, "queue": 1, "decode": 2, "prepare": 3, "infer": 4, "encode": 5,
}  # fmt: skip


def request(images: int, *, status: int = 200, version: int = 3) -> RequestRecord:
    return RequestRecord(
        "mine",
        status=status,
        version=version,
        images=images,
        executions=1,
        phases=dict(PHASES),
        elapsed_ns=1020,
    )


def test_totals_are_those_of_all_workers_and_leave_out_the_time_of_receiving(
    tmp_path: Path,
) -> None:
    storages = [Storage(tmp_path), Storage(tmp_path)]
    workers = [Statistics(storage) for storage in storages]
    workers[0].count(request(2))
    workers[0].count(request(1))
    workers[1].count(request(2))
    workers[1].count(request(9, status=503))
    workers[1].count(request(5, version=4))
    totals = workers[0].totals(3)
    assert (totals.images, totals.executions) == (5, 3)
    assert (totals.success, totals.fail) == (Duration(3, 60), Duration(1, 20))
    assert totals.last_inference_ms > 0
    assert totals.parts == {
        "queue": Duration(3, 3),
        "compute_input": Duration(3, 15),
        "compute_infer": Duration(3, 12),
        "compute_output": Duration(3, 15),
    }
    assert list(totals.batches) == [1, 2]
    assert totals.batches[2]["compute_infer"] == Duration(2, 8)
    for storage in storages:
        storage.close()


def test_a_version_without_requests_has_empty_totals() -> None:
    totals = Statistics(Storage()).totals(3)
    assert (totals.images, totals.success, totals.batches) == (0, Duration(), {})
