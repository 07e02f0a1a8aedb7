"""Inference statistics of each version, as Triton reports them."""

import time
from collections.abc import Sequence
from itertools import repeat
from typing import Any, get_args

from .counters import Metric, Storage, total
from .record import Phase, RequestRecord

# Labels of the series of requests, in place of the number of images of a run.
_FAILED, _SUCCESS = "failed", "success"

# A series has a count, then these in nanoseconds.
_DURATIONS = ("total", "queue", "compute_input", "compute_infer", "compute_output")
_ZEROS = (0.0,) * (1 + len(_DURATIONS))

_PHASES = get_args(Phase)


class Statistics:
    """Counts requests by outcome and runs of the network by batch size; not for Prometheus."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._rows = Metric(storage, "statistics", width=len(_ZEROS))
        self._last_ms = Metric(storage, "last_inference")

    def count(self, record: RequestRecord) -> None:
        """Count a request and its time since its last byte; the caller holds the storage's lock."""
        receive, queue, decode, prepare, infer, encode = map(record.phases.get, _PHASES, repeat(0))
        row = (1, record.elapsed_ns - receive, queue, decode + prepare, infer, encode)
        if record.status >= 400:
            self._rows.add((record.version, _FAILED), *row)
            return
        self._rows.add((record.version, _SUCCESS), *row)
        if record.batch:
            self._rows.add((record.version, record.batch), *row)
        self._last_ms.set((record.version,), time.time_ns() // 1_000_000)

    def of_version(self, version: int) -> dict[str, Any]:
        """Return Triton's statistics over all workers, ended ones included."""
        shards = self._storage.read()
        last = [shard.series.get((self._last_ms.name, (version,)), [0]) for shard in shards]
        rows = total(shards, self._rows.name)
        runs = {images: row for (number, images), row in rows.items() if number == version}
        fail = _durations(runs.pop(_FAILED, _ZEROS))
        success = _durations(runs.pop(_SUCCESS, _ZEROS))
        batches = [{"batch_size": n, **_durations(runs[n])} for n in sorted(runs, key=int)]
        for batch in batches:
            del batch["total"], batch["queue"]
        return {
            "last_inference": int(max(ms for [ms] in last)),
            "inference_count": sum(int(images) * int(row[0]) for images, row in runs.items()),
            "execution_count": sum(int(row[0]) for row in runs.values()),
            "inference_stats": {"success": success.pop("total"), "fail": fail["total"], **success},
            "batch_stats": batches,
        }


def _durations(row: Sequence[float]) -> dict[str, Any]:
    count, *sums = map(int, row)
    return {name: {"count": count, "ns": ns} for name, ns in zip(_DURATIONS, sums, strict=True)}
