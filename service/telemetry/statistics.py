"""Inference statistics of each version, as Triton reports them."""

import time
from collections.abc import Sequence
from typing import Any

from .counters import Family, Storage
from .record import Phase, RequestRecord

# Labels of the series of requests, in place of the number of images of a run.
_FAILED, _SUCCESS = "failed", "success"

# The values of a series. The last four are nanoseconds.
_COUNT, _NS, _LAST_MS, _QUEUE, _INPUT, _INFER, _OUTPUT = range(7)
_ZEROS = (0,) * 7

_PLACES: dict[Phase, int] = {
    "queue": _QUEUE,
    "decode": _INPUT,
    "prepare": _INPUT,
    "infer": _INFER,
    "encode": _OUTPUT,
}


class Statistics:
    """Counts requests by outcome and runs of the network by batch size; not for Prometheus."""

    def __init__(self, storage: Storage) -> None:
        self._family = Family(storage, "statistics", "", ("version", "images"), len(_ZEROS))

    def count(self, record: RequestRecord) -> None:
        """Count a request and its time since its last byte; the caller holds the storage's lock."""
        failed = record.status >= 400
        slots = [self._family.slot((record.version, _FAILED if failed else _SUCCESS))]
        if record.batch and not failed:
            slots.append(self._family.slot((record.version, record.batch)))
        values = self._family.storage.values  # After `slot`, which may replace them.
        for slot in slots:
            values[slot + _COUNT] += 1
            values[slot + _NS] += record.elapsed_ns - record.phases.get("receive", 0)
            if failed:
                return
            values[slot + _LAST_MS] = time.time_ns() // 1_000_000
            for phase, ns in record.phases.items():
                if place := _PLACES.get(phase):
                    values[slot + place] += ns

    def of_version(self, version: int) -> dict[str, Any]:
        """Return Triton's statistics over all workers, ended ones included."""
        sums: dict[int | str, Sequence[int]] = {}
        last_ms = 0
        for shard in self._family.storage.read():
            for (number, images), values in shard.series.get(self._family.name, {}).items():
                if number == version:
                    before = sums.get(images, _ZEROS)
                    sums[images] = [a + int(b) for a, b in zip(before, values, strict=True)]
                    last_ms = max(last_ms, int(values[_LAST_MS]))
        failed, success = sums.pop(_FAILED, _ZEROS), sums.pop(_SUCCESS, _ZEROS)
        return {
            "last_inference": last_ms,
            "inference_count": sum(int(images) * row[_COUNT] for images, row in sums.items()),
            "execution_count": sum(row[_COUNT] for row in sums.values()),
            "inference_stats": {
                "success": _duration(success, _NS),
                "fail": _duration(failed, _NS),
                "queue": _duration(success, _QUEUE),
                **_compute(success),
            },
            "batch_stats": [
                {"batch_size": images, **_compute(sums[images])} for images in sorted(sums, key=int)
            ],
        }


def _compute(row: Sequence[int]) -> dict[str, object]:
    places = {"compute_input": _INPUT, "compute_infer": _INFER, "compute_output": _OUTPUT}
    return {name: _duration(row, place) for name, place in places.items()}


def _duration(row: Sequence[int], place: int) -> dict[str, int]:
    return {"count": row[_COUNT], "ns": row[place]}
