"""The Open Inference Protocol's repository index and statistics, in Triton's form."""

from collections.abc import Mapping
from dataclasses import asdict

from service.classifier import Classifier
from service.repository import Repository


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


def statistics(classifiers: Mapping[int, Classifier]) -> dict[str, object]:
    """Return what was counted since each version was loaded, the lowest first."""
    return {"model_stats": [_model_stats(classifiers[number]) for number in sorted(classifiers)]}


def _model_stats(classifier: Classifier) -> dict[str, object]:
    counted = classifier.statistics.snapshot()
    return {
        "name": classifier.manifest.name,
        "version": str(classifier.manifest.version),
        "last_inference": counted.last_inference_ms,
        "inference_count": counted.images,
        "execution_count": counted.executions,
        "inference_stats": {name: asdict(duration) for name, duration in counted.durations.items()},
    }
