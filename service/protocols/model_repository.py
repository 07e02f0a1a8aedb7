"""The Open Inference Protocol's repository index and statistics, in Triton's form."""

from collections.abc import Collection
from dataclasses import asdict

from service.model.repository import Repository


def repository_index(repository: Repository, *, only_ready: bool) -> list[dict[str, str]]:
    """Return every version that was taken up, the lowest first, and why one is not served."""
    entries = [
        {
            "name": repository.name,
            "version": str(status.number),
            "state": "READY" if status.state == "AVAILABLE" else "UNAVAILABLE",
            "reason": status.error,
        }
        for status in reversed(repository.statuses)
    ]
    return [entry for entry in entries if entry["state"] == "READY" or not only_ready]


def statistics(repository: Repository, versions: Collection[int]) -> dict[str, object]:
    """Return what all workers counted since the service started, the lowest version first."""
    return {"model_stats": [_model_stats(repository, number) for number in sorted(versions)]}


def _model_stats(repository: Repository, version: int) -> dict[str, object]:
    totals = repository.metrics.statistics(version)
    durations = {"success": totals.success, "fail": totals.fail, **totals.parts}
    return {
        "name": repository.name,
        "version": str(version),
        "last_inference": totals.last_inference_ms,
        "inference_count": totals.images,
        "execution_count": totals.executions,
        "inference_stats": {name: asdict(duration) for name, duration in durations.items()},
        "batch_stats": [
            {
                "batch_size": images,
                **{name: asdict(parts[name]) for name in parts if name != "queue"},
            }
            for images, parts in totals.batches.items()
        ],
    }
