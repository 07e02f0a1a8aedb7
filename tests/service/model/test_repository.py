"""Which versions are served, and what becomes of the others."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from service.errors import (
    ArtifactError,
    InvalidParameter,
    NotReady,
    UnknownModel,
    UnknownVersion,
)
from service.model import repository as repository_module
from service.model.artifact import FLATBUFFER
from service.model.classifier import Classifier
from service.model.repository import Repository, load_classifier
from service.model.store import Directory
from service.settings import EngineChoice, VersionPolicy
from tests.service.conftest import edit_manifest, publish, samples_of, withdraw
from tests.service.model.test_artifact import append_a_byte


def opened(root: Path, policy: VersionPolicy = "latest", **labels: int) -> Repository:
    repository = Repository(Directory(root), engine="litert", policy=policy, labels=labels)
    repository.open()
    return repository


def refused(repository: Repository) -> float:
    return samples_of(repository.metrics.write())["fashion_mnist_versions_refused_total"]


def states(repository: Repository) -> dict[int, str]:
    return {status.number: status.state for status in repository.statuses}


@pytest.mark.parametrize(
    ("policy", "served"), [("latest", {10}), ("all", {1, 2, 10}), ((1, 10, 30), {1, 10})]
)
def test_the_policy_says_which_versions_are_served(
    copied_artifacts: Path, policy: VersionPolicy, served: set[int]
) -> None:
    publish(copied_artifacts, 2)
    publish(copied_artifacts, 10)
    repository = opened(copied_artifacts, policy)
    assert set(repository.serving) == served
    assert states(repository) == dict.fromkeys(served, "AVAILABLE")
    assert repository.classifier().manifest.version == 10


def test_it_is_ready_when_every_version_is_there(
    copied_artifacts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(copied_artifacts, 2)
    repository = Repository(Directory(copied_artifacts), engine="litert", policy="all")
    served_before: list[int] = []

    def load(directory: Path, engine: EngineChoice) -> Classifier:
        served_before.append(len(repository.serving))
        assert not repository.is_ready
        return load_classifier(directory, engine)

    monkeypatch.setattr(repository_module, "load_classifier", load)
    repository.open()
    assert repository.is_ready
    repository.unload()
    assert not repository.is_ready
    repository.open()
    assert repository.is_ready
    assert served_before == [0, 1, 0, 1]


def test_a_new_version_takes_over_and_its_predecessor_ends(copied_artifacts: Path) -> None:
    repository = opened(copied_artifacts)
    publish(copied_artifacts, 2)
    repository.refresh()
    assert list(repository.serving) == [2]
    assert states(repository) == {2: "AVAILABLE", 1: "END"}


def test_a_replaced_version_lives_until_its_last_request_ends(copied_artifacts: Path) -> None:
    repository = opened(copied_artifacts)
    held = repository.classifier()
    publish(copied_artifacts, 2)
    repository.refresh()
    assert states(repository)[1] == "UNLOADING"
    shutil.rmtree(copied_artifacts / "1")
    held.warm_up()
    del held
    assert states(repository)[1] == "END"


def test_many_threads_may_use_a_version_whose_directory_is_gone(copied_artifacts: Path) -> None:
    classifier = opened(copied_artifacts).classifier()
    shutil.rmtree(copied_artifacts)
    engine = classifier._engine
    for pool in (engine._assessors, engine._mappers):  # type: ignore[attr-defined]  # LiteRT's
        pool._idle.clear()  # As if other threads had taken what there is.
    classifier.warm_up()


def test_a_withdrawn_version_is_replaced_by_the_one_before(copied_artifacts: Path) -> None:
    publish(copied_artifacts, 2)
    repository = opened(copied_artifacts)
    withdraw(copied_artifacts, 2)
    repository.refresh()
    assert list(repository.serving) == [1]
    repository.refresh()
    assert states(repository) == {1: "AVAILABLE"}


def test_the_last_version_is_served_on_when_its_directory_goes(
    copied_artifacts: Path, caplog: pytest.LogCaptureFixture
) -> None:
    repository = opened(copied_artifacts)
    shutil.move(copied_artifacts, copied_artifacts.with_name("away"))
    for _ in range(3):
        repository.refresh()
    assert list(repository.serving) == [1]
    assert caplog.text.count("nothing to serve: no model directory at") == 1
    shutil.move(copied_artifacts.with_name("away"), copied_artifacts)
    publish(copied_artifacts, 2)
    repository.refresh()
    assert list(repository.serving) == [2]


def test_a_bad_version_is_refused_logged_once_and_counted_while_the_old_goes_on(
    copied_artifacts: Path, caplog: pytest.LogCaptureFixture
) -> None:
    repository = opened(copied_artifacts)
    publish(copied_artifacts, 2, good=False)
    for _ in range(3):
        repository.refresh()
    assert list(repository.serving) == [1]
    assert refused(repository) == 1
    assert caplog.text.count("version 2 is refused") == 1
    assert "model.tflite is not the file that was published" in caplog.text
    [bad, good] = repository.statuses
    assert (bad.number, bad.state, good.state) == (2, "END", "AVAILABLE")
    assert bad.error.startswith("2/assets.extra/model.tflite is not the file")

    append_a_byte(copied_artifacts / "2")
    repository.refresh()
    assert refused(repository) == 2

    withdraw(copied_artifacts, 2)
    publish(copied_artifacts, 2)
    repository.refresh()
    assert list(repository.serving) == [2]
    assert repository.statuses[0].error == ""


def test_a_version_whose_files_change_for_the_worse_is_served_as_it_was(
    copied_artifacts: Path,
) -> None:
    repository = opened(copied_artifacts)
    served = repository.classifier()
    append_a_byte(copied_artifacts / "1")
    repository.refresh()
    assert repository.classifier() is served
    [status] = repository.statuses
    assert status.state == "AVAILABLE"
    assert "not the file that was published" in status.error


def test_a_version_that_is_published_anew_is_loaded_anew(copied_artifacts: Path) -> None:
    repository = opened(copied_artifacts)
    served = repository.classifier()
    edit_manifest(copied_artifacts / "1", lambda m: m.update(created="later"))
    repository.refresh()
    assert repository.classifier() is not served
    assert repository.classifier().manifest.created == "later"


def test_another_model_is_no_version_of_this_one(copied_artifacts: Path) -> None:
    repository = opened(copied_artifacts)
    publish(copied_artifacts, 2)
    edit_manifest(copied_artifacts / "2", lambda m: m.update(name="digits"))
    repository.refresh()
    assert list(repository.serving) == [1]
    assert "a version of the model digits" in repository.statuses[0].error


def test_an_engine_that_fails_in_an_unforeseen_way_is_a_refusal(
    copied_artifacts: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    repository = opened(copied_artifacts)
    publish(copied_artifacts, 2)

    def fail(*_: object) -> Classifier:
        raise MemoryError("a detail")

    monkeypatch.setattr(repository_module, "load_classifier", fail)
    repository.refresh()
    assert list(repository.serving) == [1]
    assert repository.statuses[0].error == "it failed to load: MemoryError"
    assert "a detail" in caplog.text


@pytest.mark.parametrize(
    ("prepare", "policy", "reason"),
    [
        (shutil.rmtree, "latest", "no model directory at"),
        (lambda root: withdraw(root, 1), "latest", "no version directory .* publish MODEL"),
        (lambda _: None, (7,), "no version that the policy selects is published, only 1$"),
        (lambda root: (root / "1" / FLATBUFFER).unlink(), "all", "is listed .* but missing"),
    ],
)
def test_a_start_with_nothing_to_serve_says_why(
    copied_artifacts: Path, prepare: Callable[[Path], object], policy: VersionPolicy, reason: str
) -> None:
    prepare(copied_artifacts)
    with pytest.raises(ArtifactError, match=reason):
        opened(copied_artifacts, policy)


def test_a_bad_highest_version_is_passed_over_at_the_start(copied_artifacts: Path) -> None:
    publish(copied_artifacts, 2, good=False)
    repository = opened(copied_artifacts)
    assert list(repository.serving) == [1]
    assert refused(repository) == 1


def test_a_version_is_found_by_number_by_label_or_as_the_highest(copied_artifacts: Path) -> None:
    publish(copied_artifacts, 2)
    repository = opened(copied_artifacts, "all", stable=1, canary=2, gone=3)

    def found(version: int | None = None, label: str | None = None) -> int:
        return repository.classifier(version, label).manifest.version

    assert (found(), found(1), found(label="stable"), found(label="canary")) == (2, 1, 1, 2)
    with pytest.raises(UnknownVersion, match="version 7 is not served; served: 1, 2"):
        found(7)
    with pytest.raises(UnknownVersion, match="version 3 is not served"):
        found(label="gone")
    with pytest.raises(UnknownVersion, match="no version is labelled 'beta'"):
        found(label="beta")
    with pytest.raises(InvalidParameter, match="give only one of them"):
        found(1, "stable")


def test_an_unloaded_model_stays_unloaded_until_it_is_opened(copied_artifacts: Path) -> None:
    repository = opened(copied_artifacts)
    repository.unload()
    repository.refresh()
    assert not repository.is_ready
    with pytest.raises(NotReady):
        repository.classifier()
    repository.open()
    assert list(repository.serving) == [1]


def test_the_name_is_that_of_the_manifest(copied_artifacts: Path) -> None:
    repository = Repository(Directory(copied_artifacts), engine="litert")
    with pytest.raises(NotReady):
        repository.check_name("fashion_mnist")
    repository.open()
    repository.check_name("fashion_mnist")
    with pytest.raises(UnknownModel, match="no model 'x'; known: fashion_mnist"):
        repository.check_name("x")
