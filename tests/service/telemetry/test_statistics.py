"""Statistics of each version, over all workers and by the size of batches."""

from pathlib import Path

from service.telemetry.counters import Storage
from service.telemetry.record import Phase, RequestRecord
from service.telemetry.statistics import Statistics

PHASES: dict[Phase, int] = {
    "receive": 1000, "queue": 1, "decode": 2, "prepare": 3, "infer": 4, "encode": 5,
}  # fmt: skip


def request(
    images: int, *, batch: int | None = None, status: int = 200, version: int = 3
) -> RequestRecord:
    return RequestRecord(
        "mine",
        status=status,
        version=version,
        images=images,
        batch=images if batch is None else batch,
        phases=dict(PHASES),
        elapsed_ns=1020,
    )


def test_totals_include_all_workers_but_not_the_time_to_receive(
    tmp_path: Path,
) -> None:
    storages = [Storage(tmp_path), Storage(tmp_path)]
    workers = [Statistics(storage) for storage in storages]
    workers[0].count(request(2))
    workers[0].count(request(1))
    workers[1].count(request(2))
    workers[1].count(request(9, status=503))
    workers[1].count(request(5, version=4))
    stats = workers[0].of_version(3)
    compute = {
        "compute_input": {"count": 3, "ns": 15},
        "compute_infer": {"count": 3, "ns": 12},
        "compute_output": {"count": 3, "ns": 15},
    }
    assert stats.pop("last_inference") > 0
    [single, double] = stats.pop("batch_stats")
    assert stats == {
        "inference_count": 5,
        "execution_count": 3,
        "inference_stats": {
            "success": {"count": 3, "ns": 60},
            "fail": {"count": 1, "ns": 20},
            "queue": {"count": 3, "ns": 3},
            **compute,
        },
    }
    assert single == {
        "batch_size": 1,
        "compute_input": {"count": 1, "ns": 5},
        "compute_infer": {"count": 1, "ns": 4},
        "compute_output": {"count": 1, "ns": 5},
    }
    assert (double["batch_size"], double["compute_infer"]) == (2, {"count": 2, "ns": 8})
    for storage in storages:
        storage.close()


def test_requests_that_share_a_batch_count_as_one_execution() -> None:
    statistics = Statistics(Storage())
    statistics.count(request(2, batch=5))  # The batch of three requests, counted by the first.
    statistics.count(request(2, batch=0))
    statistics.count(request(1, batch=0))
    statistics.count(request(5))
    stats = statistics.of_version(3)
    assert stats["inference_stats"]["success"]["count"] == 4
    [five] = stats["batch_stats"]
    assert (five["batch_size"], five["compute_infer"]) == (5, {"count": 2, "ns": 8})
    assert (stats["execution_count"], stats["inference_count"]) == (2, 10)


def test_statistics_of_a_version_without_requests_are_zero() -> None:
    stats = Statistics(Storage()).of_version(3)
    assert (stats["last_inference"], stats["inference_count"], stats["batch_stats"]) == (0, 0, [])
    assert set(stats["inference_stats"]) == {
        *("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")
    }
    assert all(of == {"count": 0, "ns": 0} for of in stats["inference_stats"].values())
