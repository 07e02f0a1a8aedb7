"""Which versions a repository loads, serves, refuses and unloads."""

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


def open_repository(root: Path, policy: VersionPolicy = "latest", **labels: int) -> Repository:
    repository = Repository(Directory(root), engine="litert", policy=policy, labels=labels)
    repository.open()
    return repository


def refused_count(repository: Repository) -> float:
    return samples_of(repository.metrics.write())["fashion_mnist_versions_refused_total"]


def version_states(repository: Repository) -> dict[int, str]:
    return {status.number: status.state for status in repository.statuses}


@pytest.mark.parametrize(
    ("policy", "served"), [("latest", {10}), ("all", {1, 2, 10}), ((1, 10, 30), {1, 10})]
)
def test_policy_selects_the_served_versions(
    copied_artifacts: Path, policy: VersionPolicy, served: set[int]
) -> None:
    publish(copied_artifacts, 2)
    publish(copied_artifacts, 10)
    repository = open_repository(copied_artifacts, policy)
    assert set(repository.serving) == served
    assert version_states(repository) == dict.fromkeys(served, "AVAILABLE")
    assert repository.classifier().manifest.version == 10


def test_repository_is_ready_once_every_version_is_loaded(
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


def test_new_version_replaces_its_predecessor(copied_artifacts: Path) -> None:
    repository = open_repository(copied_artifacts)
    publish(copied_artifacts, 2)
    repository.refresh()
    assert list(repository.serving) == [2]
    assert version_states(repository) == {2: "AVAILABLE", 1: "END"}


def test_replaced_version_is_unloaded_after_its_last_request(copied_artifacts: Path) -> None:
    repository = open_repository(copied_artifacts)
    in_use = repository.classifier()
    publish(copied_artifacts, 2)
    repository.refresh()
    assert version_states(repository)[1] == "UNLOADING"
    shutil.rmtree(copied_artifacts / "1")
    in_use.warm_up()
    del in_use
    assert version_states(repository)[1] == "END"


def test_loaded_version_needs_no_directory_for_further_interpreters(copied_artifacts: Path) -> None:
    classifier = open_repository(copied_artifacts).classifier()
    shutil.rmtree(copied_artifacts)
    engine = classifier._engine
    for pool in (engine._assessors, engine._mappers):  # type: ignore[attr-defined]  # LiteRT's
        pool._idle.clear()  # As if other threads used every idle interpreter.
    classifier.warm_up()


def test_removed_version_is_replaced_by_the_previous_one(copied_artifacts: Path) -> None:
    publish(copied_artifacts, 2)
    repository = open_repository(copied_artifacts)
    withdraw(copied_artifacts, 2)
    repository.refresh()
    assert list(repository.serving) == [1]
    repository.refresh()
    assert version_states(repository) == {1: "AVAILABLE"}


def test_last_version_is_still_served_after_its_directory_is_removed(
    copied_artifacts: Path, caplog: pytest.LogCaptureFixture
) -> None:
    repository = open_repository(copied_artifacts)
    shutil.move(copied_artifacts, copied_artifacts.with_name("away"))
    for _ in range(3):
        repository.refresh()
    assert list(repository.serving) == [1]
    assert caplog.text.count("nothing to serve: no model directory at") == 1
    shutil.move(copied_artifacts.with_name("away"), copied_artifacts)
    publish(copied_artifacts, 2)
    repository.refresh()
    assert list(repository.serving) == [2]


def test_bad_version_is_refused_logged_once_and_counted_while_the_old_one_is_served(
    copied_artifacts: Path, caplog: pytest.LogCaptureFixture
) -> None:
    repository = open_repository(copied_artifacts)
    publish(copied_artifacts, 2, good=False)
    for _ in range(3):
        repository.refresh()
    assert list(repository.serving) == [1]
    assert refused_count(repository) == 1
    assert caplog.text.count("version 2 is refused") == 1
    assert "model.tflite is not the file that was published" in caplog.text
    [bad, good] = repository.statuses
    assert (bad.number, bad.state, good.state) == (2, "END", "AVAILABLE")
    assert bad.error.startswith("2/assets.extra/model.tflite is not the file")

    append_a_byte(copied_artifacts / "2")
    repository.refresh()
    assert refused_count(repository) == 2

    withdraw(copied_artifacts, 2)
    publish(copied_artifacts, 2)
    repository.refresh()
    assert list(repository.serving) == [2]
    assert repository.statuses[0].error == ""


def test_loaded_version_is_still_served_after_its_files_are_damaged(
    copied_artifacts: Path,
) -> None:
    repository = open_repository(copied_artifacts)
    served = repository.classifier()
    append_a_byte(copied_artifacts / "1")
    repository.refresh()
    assert repository.classifier() is served
    [status] = repository.statuses
    assert status.state == "AVAILABLE"
    assert "not the file that was published" in status.error


def test_republished_version_is_reloaded(copied_artifacts: Path) -> None:
    repository = open_repository(copied_artifacts)
    served = repository.classifier()
    edit_manifest(copied_artifacts / "1", lambda m: m.update(created="later"))
    repository.refresh()
    assert repository.classifier() is not served
    assert repository.classifier().manifest.created == "later"


def test_version_of_another_model_is_refused(copied_artifacts: Path) -> None:
    repository = open_repository(copied_artifacts)
    publish(copied_artifacts, 2)
    edit_manifest(copied_artifacts / "2", lambda m: m.update(name="digits"))
    repository.refresh()
    assert list(repository.serving) == [1]
    assert "a version of the model digits" in repository.statuses[0].error


def test_unexpected_load_error_refuses_the_version(
    copied_artifacts: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    repository = open_repository(copied_artifacts)
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
        (lambda _: None, (7,), r"the policy selects none of the published versions \[1\]$"),
        (lambda root: (root / "1" / FLATBUFFER).unlink(), "all", "is listed .* but missing"),
    ],
)
def test_opening_without_a_servable_version_raises_the_reason(
    copied_artifacts: Path, prepare: Callable[[Path], object], policy: VersionPolicy, reason: str
) -> None:
    prepare(copied_artifacts)
    with pytest.raises(ArtifactError, match=reason):
        open_repository(copied_artifacts, policy)


def test_bad_highest_version_is_skipped_at_startup(copied_artifacts: Path) -> None:
    publish(copied_artifacts, 2, good=False)
    repository = open_repository(copied_artifacts)
    assert list(repository.serving) == [1]
    assert refused_count(repository) == 1


def test_version_is_selected_by_number_by_label_or_as_the_highest(copied_artifacts: Path) -> None:
    publish(copied_artifacts, 2)
    repository = open_repository(copied_artifacts, "all", stable=1, canary=2, gone=3)

    def resolve(version: int | None = None, label: str | None = None) -> int:
        return repository.classifier(version, label).manifest.version

    assert (resolve(), resolve(1), resolve(label="stable"), resolve(label="canary")) == (2, 1, 1, 2)
    with pytest.raises(UnknownVersion, match="version 7 is not served; served: 1, 2"):
        resolve(7)
    with pytest.raises(UnknownVersion, match="version 3 is not served"):
        resolve(label="gone")
    with pytest.raises(UnknownVersion, match="no version is labelled 'beta'"):
        resolve(label="beta")
    with pytest.raises(InvalidParameter, match="give only one of them"):
        resolve(1, "stable")


def test_unloaded_model_stays_unloaded_until_it_is_opened(copied_artifacts: Path) -> None:
    repository = open_repository(copied_artifacts)
    repository.unload()
    repository.refresh()
    assert not repository.is_ready
    with pytest.raises(NotReady):
        repository.classifier()
    repository.open()
    assert list(repository.serving) == [1]


def test_check_name_accepts_only_the_name_in_the_manifest(copied_artifacts: Path) -> None:
    repository = Repository(Directory(copied_artifacts), engine="litert")
    with pytest.raises(NotReady):
        repository.check_name("fashion_mnist")
    repository.open()
    repository.check_name("fashion_mnist")
    with pytest.raises(UnknownModel, match="no model 'x'; known: fashion_mnist"):
        repository.check_name("x")
