"""The versions of the model: which are published, which are served, and why one is refused."""

import logging
import threading
import weakref
from collections.abc import Collection, Mapping
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Literal

from ..errors import (
    ArtifactError,
    InvalidParameter,
    NotReady,
    StoreError,
    UnknownModel,
    UnknownVersion,
    require,
)
from ..settings import EngineChoice, VersionPolicy
from ..telemetry.metrics import Metrics
from .artifact import FLATBUFFER, HINT, LAYERS, PICTURES, Artifact, verify, verify_signature
from .classifier import Classifier, Engine
from .store import Fingerprint, Source

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class VersionStatus:
    """The state of a version, in TensorFlow Serving's terms."""

    number: int
    state: Literal["LOADING", "AVAILABLE", "UNLOADING", "END"]
    error: str = ""  # Why the published files were refused.


@dataclass(eq=False)
class Repository:
    """Loads versions when they are published and unloads them when they are removed.

    A request keeps its `Classifier` even if the version is unloaded meanwhile. Only `open`,
    `refresh` and `unload` block.
    """

    source: Source
    _: KW_ONLY
    engine: EngineChoice = "auto"
    policy: VersionPolicy = "latest"
    labels: Mapping[str, int] = field(default_factory=dict)
    public_key: Path | None = None
    metrics: Metrics = field(default_factory=Metrics)
    name: str = field(default="", init=False)  # The model's; empty until a version is loaded.
    serving: Mapping[int, Classifier] = field(default_factory=dict, init=False)  # Never mutated.
    _statuses: dict[int, VersionStatus] = field(default_factory=dict, init=False)
    _tried: dict[int, Fingerprint] = field(default_factory=dict, init=False)
    _problem: str = field(default="", init=False)
    _unloaded: bool = field(default=False, init=False)
    _refreshed: bool = field(default=False, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    @property
    def is_ready(self) -> bool:
        """Whether every version to be served has been loaded, and there is at least one."""
        return self._refreshed and bool(self.serving)

    @property
    def statuses(self) -> list[VersionStatus]:
        """Every version that was loaded or refused, the highest first."""
        return sorted(self._statuses.copy().values(), key=lambda s: s.number, reverse=True)

    @property
    def names(self) -> list[str]:
        """The model's name, alone and with each suffix."""
        return [self.name, self.name + PICTURES, self.name + LAYERS]

    def check_name(self, name: str) -> None:
        """Raise UnknownModel if no name of the model matches, NotReady before it is loaded."""
        if not self.name:
            raise NotReady("the model is still being loaded")
        if name not in self.names:
            # Clients look for this prefix of Triton's message.
            known = ", ".join(self.names)
            raise UnknownModel(f"Request for unknown model: no model {name!r}; known: {known}")

    def find(self, name: str, version: str | None = None) -> Classifier:
        """Return the named version, or the highest; raises UnknownModel or UnknownVersion."""
        self.check_name(name)
        return self.classifier(version_number(version) if version else None)

    def find_servable(
        self, name: str, version: str | None = None, label: str | None = None
    ) -> Classifier:
        """Return a version like `find`, or by label, with TensorFlow Serving's error messages."""
        number = None if version is None else version_number(version)
        try:
            self.check_name(name)
            return self.classifier(number, label)
        except (UnknownModel, UnknownVersion) as error:
            if label is not None and isinstance(error, UnknownVersion):
                raise
            wanted = f"Latest({name})" if number is None else f"Specific({name}, {number})"
            raise type(error)(f"Servable not found for request: {wanted}") from error

    def classifier(self, version: int | None = None, label: str | None = None) -> Classifier:
        """Return the served version with this number or label, or the highest."""
        serving = self.serving
        if version is not None and label is not None:
            raise InvalidParameter("version and version_label: give only one of them")
        if not serving:
            raise NotReady("the model is still being loaded, or was unloaded")
        if label is not None:
            if label not in self.labels:
                raise UnknownVersion(f"no version is labelled {label!r}; labels: {[*self.labels]}")
            version = self.labels[label]
        if version is None:
            return serving[max(serving)]
        if version not in serving:
            known = ", ".join(map(str, sorted(serving)))
            raise UnknownVersion(f"version {version} is not served; served: {known}")
        return serving[version]

    def open(self) -> None:
        """Load the versions, at the start or after `unload`; raise ArtifactError if all fail."""
        with self._lock:
            self._unloaded = False
            self._refresh()
            if not self.serving:
                raise ArtifactError(self._problem or self.statuses[0].error)

    def refresh(self) -> None:
        """Load and unload versions to match what is published; log each error once."""
        with self._lock:
            if not self._unloaded:
                self._refresh()

    def unload(self) -> None:
        """Serve no version until `open`; requests in flight keep their classifiers."""
        with self._lock:
            self._unloaded, self._refreshed = True, False
            self._keep(())

    def _refresh(self) -> None:
        problem, kept = "", set(self.serving)
        try:
            kept = self._load_wanted(self.source.versions()) or kept
        except ArtifactError as error:  # Loaded versions stay: a mount may come and go.
            problem = str(error)
        if problem and problem != self._problem:
            logger.error("nothing to serve: %s", problem)
        self._problem = problem
        self._refreshed = True
        self._keep(kept)

    def _load_wanted(self, published: list[int]) -> set[int]:
        """Load the versions that the policy selects; return those that are served."""
        policy = self.policy
        wanted = [number for number in published if isinstance(policy, str) or number in policy]
        if not published:
            raise ArtifactError(f"no version directory (1, 2, …) in {self.source}; {HINT}")
        if not wanted:
            raise ArtifactError(f"the policy selects none of the published versions {published}")
        for number in self._statuses.keys() - set(published):
            self._tried.pop(number, None)
            if self._statuses[number].state == "END":
                del self._statuses[number]
        loaded = set()
        for number in wanted:
            if self._load_version(number):
                loaded.add(number)
                if policy == "latest":
                    break
        return loaded

    def _load_version(self, number: int) -> bool:
        """Load a version if its files have changed; return whether it is served."""
        fingerprint, is_served = self.source.fingerprint(number), number in self.serving
        if self._tried.get(number) == fingerprint:
            return is_served
        self._tried[number] = fingerprint
        before = self._statuses.get(number)
        if not is_served:
            self._statuses[number] = VersionStatus(number, "LOADING")
        try:
            directory = self.source.directory(number)
            classifier = self._load(directory)
        except Exception as error:  # A bug in an engine must not affect the other versions.
            reason = f"it failed to load: {type(error).__name__}"
            if isinstance(error, StoreError):
                del self._tried[number]  # A retry may succeed with the same files.
                reason = "it cannot be fetched"
            elif isinstance(error, ArtifactError):
                # Clients must not see the machine's paths.
                reason = str(error).replace(f"{directory.parent}/", "")
            self._statuses[number] = VersionStatus(
                number, "AVAILABLE" if is_served else "END", reason
            )
            if before is not None and before.error == reason and isinstance(error, StoreError):
                return is_served  # Already logged.
            self.metrics.count_refused_version()
            traceback = None if isinstance(error, ArtifactError) else error
            logger.log(
                logging.ERROR, "version %d is refused: %s", number, error, exc_info=traceback
            )
            return is_served
        self._statuses[number] = VersionStatus(number, "AVAILABLE")
        self.serving = {**self.serving, number: classifier}
        logger.info("version %d is served", number)
        return True

    def _load(self, directory: Path) -> Classifier:
        if self.public_key is not None:
            verify_signature(directory, self.public_key)
        classifier = load_classifier(directory, self.engine)
        name = classifier.manifest.name
        if self.name not in ("", name):
            raise ArtifactError(f"it is a version of the model {name}, not of {self.name}")
        self.name = name
        return classifier

    def _keep(self, kept: Collection[int]) -> None:
        """Stop serving other versions; their last requests free the memory."""
        for number in self.serving.keys() - set(kept):
            status = self._statuses[number]
            status.state = "UNLOADING"
            self._tried.pop(number, None)
            finalizer = weakref.finalize(self.serving[number], setattr, status, "state", "END")
            finalizer.atexit = False
            self.serving = {n: c for n, c in self.serving.items() if n != number}
            logger.info("version %d is no longer served", number)
        serving = {number: c.manifest.class_names for number, c in self.serving.items()}
        self.metrics.set_versions(serving, self._statuses)


def version_number(text: str) -> int:
    """Parse a version in a path; raises UnknownVersion if it is no number."""
    if not (len(text) < 20 and text.isascii() and text.isdecimal()):
        raise UnknownVersion(f"version {text!r} is not a number")
    return int(text)


def load_classifier(directory: Path, engine: EngineChoice) -> Classifier:
    """Verify, load and warm up one version, or raise ArtifactError."""
    artifact = verify(directory)
    classifier = Classifier(artifact, load_engine(artifact, engine))
    classifier.warm_up()
    return classifier


def load_engine(artifact: Artifact, choice: EngineChoice) -> Engine:
    """Load the network, or raise ArtifactError if the engine cannot or is missing."""
    has_flatbuffer, reason = artifact.file(FLATBUFFER) is not None, "asked for"
    if choice == "auto":
        choice = "litert" if has_flatbuffer else "tensorflow"
        reason = f"there is {'a' if has_flatbuffer else 'no'} {FLATBUFFER.name}"
    engine: Engine
    if choice == "litert":
        if not has_flatbuffer:
            raise ArtifactError(f"{artifact.directory} has no {FLATBUFFER} for the litert engine")
        from .engines.litert import LiteRTEngine  # noqa: PLC0415 (imported if chosen)

        engine = LiteRTEngine(artifact)
    else:
        user = f"the tensorflow engine ({reason})"
        require(user, "TensorFlow", "extra `training`", "tensorflow")
        from .engines.tensorflow import TensorFlowEngine  # noqa: PLC0415 (as above)

        engine = TensorFlowEngine(artifact)
    logger.info("engine %s (%s)", engine.name, reason)
    return engine
