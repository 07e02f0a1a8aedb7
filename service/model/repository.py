"""The versions of the model: which are published, which are served, and why one is not."""

import importlib.util
import logging
import threading
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from service.errors import (
    ArtifactError,
    InvalidParameter,
    NotReady,
    StoreError,
    UnknownModel,
    UnknownVersion,
)
from service.model.artifact import FLATBUFFER, Artifact, verify
from service.model.classifier import Classifier, Engine
from service.model.signature import verify_signature
from service.model.store import Fingerprint, Source
from service.settings import EngineChoice, VersionPolicy
from service.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class VersionStatus:
    """The state of a version, in TensorFlow Serving's terms."""

    number: int
    state: Literal["LOADING", "AVAILABLE", "UNLOADING", "END"]
    error: str = ""
    """Why the published files are not served, or empty."""


class Repository:
    """Loads versions when they are published and unloads them when they are removed.

    A request takes a `Classifier` once and keeps it, even if its version is unloaded meanwhile.
    `open`, `refresh` and `unload` block; the other members may be used anywhere.
    """

    def __init__(  # noqa: PLR0913 (each is a setting)
        self,
        source: Source,
        *,
        engine: EngineChoice = "auto",
        policy: VersionPolicy = "latest",
        labels: Mapping[str, int] | None = None,
        public_key: Path | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        self._source = source
        self._engine: EngineChoice = engine
        self._policy: VersionPolicy = policy
        self._labels = labels or {}
        self._public_key = public_key
        self.metrics = metrics or Metrics()
        self.name = ""
        """The model's name; empty before a version has been loaded."""
        self.serving: Mapping[int, Classifier] = {}
        """The served versions, by number; replaced as a whole, never changed."""
        self._statuses: dict[int, VersionStatus] = {}
        self._tried: dict[int, Fingerprint] = {}
        self._problem = ""
        self._unloaded = self._refreshed = False
        self._lock = threading.Lock()

    @property
    def is_ready(self) -> bool:
        """Whether every version that is to be served has been loaded, and there is one."""
        return self._refreshed and bool(self.serving)

    @property
    def statuses(self) -> list[VersionStatus]:
        """Every version that was loaded or refused, the highest first."""
        return sorted(self._statuses.copy().values(), key=lambda s: s.number, reverse=True)

    def check_name(self, name: str) -> None:
        """Raise UnknownModel if the model has another name, NotReady if it is not known yet."""
        if not self.name:
            raise NotReady("the model is still being loaded")
        if name != self.name:
            raise UnknownModel(f"no model {name!r}; there is {self.name}")

    def classifier(self, version: int | None = None, label: str | None = None) -> Classifier:
        """Return the version with this number or label, or the highest.

        Raises:
            InvalidParameter, UnknownVersion, NotReady: Both are given, it is not served, none is.
        """
        serving = self.serving
        if version is not None and label is not None:
            raise InvalidParameter("version and version_label: give one of the two")
        if not serving:
            raise NotReady("the model is still being loaded, or was unloaded")
        if label is not None:
            if label not in self._labels:
                raise UnknownVersion(f"no version is labelled {label!r}")
            version = self._labels[label]
        if version is None:
            return serving[max(serving)]
        if version not in serving:
            raise UnknownVersion(
                f"version {version} is not served; there is {', '.join(map(str, sorted(serving)))}"
            )
        return serving[version]

    def open(self) -> None:
        """Load the versions, at the start or after `unload`; raise ArtifactError if all fail."""
        with self._lock:
            self._unloaded = False
            self._refresh()
            if not self.serving:
                raise ArtifactError(self._problem or self.statuses[0].error)

    def refresh(self) -> None:
        """Load and unload versions as they are published now; errors are logged, once."""
        with self._lock:
            if not self._unloaded:
                self._refresh()

    def unload(self) -> None:
        """Serve no version until `open`; requests in flight keep their classifiers."""
        with self._lock:
            self._unloaded, self._refreshed = True, False
            for number in self.serving:
                self._unload_version(number)
            self._report_versions()

    def _report_versions(self) -> None:
        serving = {number: c.manifest.class_names for number, c in self.serving.items()}
        self.metrics.set_versions(serving, self._statuses)

    def _refresh(self) -> None:
        problem = ""
        try:
            self._serve(self._source.versions())
        except ArtifactError as error:
            problem = str(error)
            if problem != self._problem:
                logger.error("nothing to serve: %s", problem)
        self._problem = problem
        self._refreshed = True
        self._report_versions()

    def _serve(self, published: list[int]) -> None:
        """Serve the published versions that the policy selects, or raise ArtifactError."""
        policy = self._policy
        wanted = [n for n in published if isinstance(policy, str) or n in policy]
        if not wanted:  # Loaded versions stay: a mount that comes and goes must not end them.
            none = "version directory (1, 2, …)"
            if not isinstance(policy, str):
                none = f"version of the policy ({', '.join(map(str, policy))})"
            raise ArtifactError(f"no {none} in {self._source}")
        for number in self._statuses.keys() - set(published):
            self._tried.pop(number, None)
            if self._statuses[number].state == "END":
                del self._statuses[number]
        loaded = set()
        for number in wanted:
            if self._load_version(number):
                loaded.add(number)
                if self._policy == "latest":
                    break
        if loaded:
            for number in self.serving.keys() - loaded:
                self._unload_version(number)

    def _load_version(self, number: int) -> bool:
        """Load a version, unless its files have not changed since; return if it is served."""
        fingerprint = self._source.fingerprint(number)
        if self._tried.get(number) == fingerprint:
            return number in self.serving
        self._tried[number] = fingerprint
        is_served = number in self.serving
        if not is_served:
            self._statuses[number] = VersionStatus(number, "LOADING")
        try:
            directory = self._source.directory(number)
            if self._public_key is not None:
                verify_signature(directory, self._public_key)
            classifier = load_classifier(directory, self._engine)
            self._check_same_model(classifier.manifest.name)
        except StoreError as error:
            del self._tried[number]  # The next attempt may succeed with the same files.
            self._refuse(number, error, "it cannot be fetched")
        except ArtifactError as error:
            # Clients must not learn where on the machine the model is.
            self._refuse(number, error, str(error).replace(f"{directory.parent}/", ""))
        except Exception as error:  # An engine's bug must not affect the other versions.
            self._refuse(number, error, f"it failed to load: {type(error).__name__}")
        else:
            self.name = classifier.manifest.name
            self._statuses[number] = VersionStatus(number, "AVAILABLE")
            self.serving = {**self.serving, number: classifier}
            logger.info("version %d is served", number)
            return True
        return is_served

    def _check_same_model(self, name: str) -> None:
        if self.name not in ("", name):
            raise ArtifactError(f"it is a version of another model, {name}, not {self.name}")

    def _refuse(self, number: int, error: Exception, reason: str) -> None:
        self.metrics.count_refused_version()
        status = self._statuses[number]
        status.error = reason
        if status.state == "LOADING":
            status.state = "END"
        traceback = None if isinstance(error, ArtifactError) else error
        logger.error("version %d is refused: %s", number, error, exc_info=traceback)

    def _unload_version(self, number: int) -> None:
        """Stop serving a version; its memory is freed after the last request that uses it."""
        classifier = self.serving[number]
        status = self._statuses[number]
        status.state = "UNLOADING"
        self._tried.pop(number, None)
        self.serving = {n: c for n, c in self.serving.items() if n != number}
        weakref.finalize(classifier, setattr, status, "state", "END").atexit = False
        logger.info("version %d is no longer served", number)


def load_classifier(directory: Path, engine: EngineChoice) -> Classifier:
    """Verify, load and warm up one version, or raise ArtifactError with a reason for operators."""
    artifact = verify(directory)
    classifier = Classifier(artifact, load_engine(artifact, engine))
    classifier.warm_up()
    return classifier


def load_engine(artifact: Artifact, choice: EngineChoice) -> Engine:
    """Load the network, or raise ArtifactError if the engine cannot or is not installed."""
    has_flatbuffer, reason = artifact.file(FLATBUFFER) is not None, "asked for"
    if choice == "auto":
        choice = "litert" if has_flatbuffer else "tensorflow"
        reason = f"there is {'a' if has_flatbuffer else 'no'} {FLATBUFFER.name}"
    engine: Engine
    if choice == "litert":
        if not has_flatbuffer:
            raise ArtifactError(f"{artifact.directory} has no {FLATBUFFER} for the litert engine")
        from service.model.engines.litert import LiteRTEngine  # noqa: PLC0415 (imported if chosen)

        engine = LiteRTEngine(artifact)
    else:
        if importlib.util.find_spec("tensorflow") is None:
            raise ArtifactError(
                f"the tensorflow engine ({reason}) needs TensorFlow, which is not installed: "
                "it comes with the extra `training`"
            )
        from service.model.engines.tensorflow import TensorFlowEngine  # noqa: PLC0415 (as above)

        engine = TensorFlowEngine(artifact)
    logger.info("engine %s (%s)", engine.name, reason)
    return engine
