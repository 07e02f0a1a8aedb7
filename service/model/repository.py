"""The versions of the model: which are published, which are served, and why one is not."""

import logging
import threading
import weakref
from collections.abc import Mapping
from pathlib import Path

from service.model.artifact import Fingerprint
from service.model.classifier import Classifier, load_classifier
from service.errors import (
    ArtifactError,
    InvalidParameter,
    NotReady,
    StoreError,
    UnknownModel,
    UnknownVersion,
)
from service.telemetry.metrics import Metrics
from service.setting_types import VersionPolicy
from service.settings import EngineChoice
from service.model.signature import verify_signature
from service.model.sources import Source
from service.model.version_status import VersionStatus

logger = logging.getLogger(__name__)


class Repository:
    """Loads versions as they appear and lets go of them as they disappear.

    A request asks once for a `Classifier` and keeps it: whatever happens to that version
    meanwhile, the request is answered by it. `refresh`, `load` and `unload` take their time and
    belong in a thread; everything else only reads and may be called from anywhere. What is served
    and what was refused is counted in `metrics`.
    """

    def __init__(  # noqa: PLR0913 (each is a setting of its own)
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
        self._name = ""
        self._serving: Mapping[int, Classifier] = {}  # Replaced as a whole, never changed.
        self._statuses: dict[int, VersionStatus] = {}
        self._tried: dict[int, Fingerprint] = {}
        self._problem = ""
        self._unloaded = self._has_looked = False
        self._changing = threading.Lock()

    @property
    def is_ready(self) -> bool:
        """Whether at least one version is served, and none is still to come of those there are."""
        return self._has_looked and bool(self._serving)

    @property
    def name(self) -> str:
        """What the model is called; empty before a version was loaded."""
        return self._name

    @property
    def serving(self) -> Mapping[int, Classifier]:
        """The versions being served, by number."""
        return self._serving

    @property
    def statuses(self) -> list[VersionStatus]:
        """Every version that was ever taken up, the highest first."""
        return sorted(self._statuses.copy().values(), key=lambda s: s.number, reverse=True)

    def check_name(self, name: str) -> None:
        """Raise unless `name` is the model's.

        Raises:
            NotReady: No version was loaded so far, so that the name is not known.
            UnknownModel: The model has another name.
        """
        if not self._name:
            raise NotReady("the model is still being loaded")
        if name != self._name:
            raise UnknownModel(f"no model {name!r}; there is {self._name}")

    def classifier(self, version: int | None = None, label: str | None = None) -> Classifier:
        """Return one version: by number, by label, or the highest.

        Raises:
            InvalidParameter: Both a version and a label are given.
            UnknownVersion: It is not served, or there is no such label.
            NotReady: Nothing is served.
        """
        serving = self._serving
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
        """Look for the first time.

        Raises:
            ArtifactError: There is nothing to serve.
        """
        self.refresh()
        if not self.is_ready:
            raise ArtifactError(self._problem or self.statuses[0].error)

    def refresh(self) -> None:
        """Look at the directory and serve what the policy says. What is wrong is logged, once."""
        with self._changing:
            if not self._unloaded:
                self._refresh()
                self._has_looked = True
                self.metrics.set_versions(self._serving, self._statuses)

    def load(self) -> None:
        """Serve again after `unload`, or look at the directory without waiting for the next time.

        Raises:
            ArtifactError: There is nothing to serve.
        """
        with self._changing:
            self._unloaded = False
        self.open()

    def unload(self) -> None:
        """Serve nothing until `load`; requests that have their classifier are answered."""
        with self._changing:
            self._unloaded, self._has_looked = True, False
            for number in self._serving:
                self._let_go(number)
            self.metrics.set_versions(self._serving, self._statuses)

    def _refresh(self) -> None:
        try:
            published, problem = self._source.versions(), ""
        except ArtifactError as error:
            published, problem = [], str(error)
        wanted = self._wanted(published)
        if not wanted:
            # What is being served goes on: a mount that comes and goes must not end the service.
            problem = problem or self._nothing_wanted()
            if problem != self._problem:
                logger.error("nothing to serve: %s", problem)
        self._problem = problem
        if problem:
            return
        for number in self._tried.keys() - set(published):
            del self._tried[number]  # If it comes back, it is new.
        for number in self._statuses.keys() - set(published):
            if self._statuses[number].state == "END":
                del self._statuses[number]
        keep = set()
        for number in wanted:
            if self._take_up(number):
                keep.add(number)
                if self._policy == "latest":
                    break
        if keep:
            for number in self._serving.keys() - keep:
                self._let_go(number)

    def _wanted(self, published: list[int]) -> list[int]:
        if isinstance(self._policy, str):
            return published
        return [number for number in published if number in self._policy]

    def _nothing_wanted(self) -> str:
        if isinstance(self._policy, str):
            return f"no version directory (1, 2, …) in {self._source}"
        numbers = ", ".join(map(str, self._policy))
        return f"no version of the policy ({numbers}) in {self._source}"

    def _take_up(self, number: int) -> bool:
        """Load a version unless that was tried with the same files; return if it is served."""
        fingerprint = self._source.fingerprint(number)
        if self._tried.get(number) == fingerprint:
            return number in self._serving
        self._tried[number] = fingerprint
        replaces = number in self._serving
        status = self._statuses[number] if replaces else VersionStatus(number)
        self._statuses[number] = status
        if not replaces:
            status.state = "LOADING"
        try:
            directory = self._source.directory(number)
            if self._public_key is not None:
                verify_signature(directory, self._public_key)
            classifier = load_classifier(directory, self._engine)
            self._check_same_model(classifier)
        except StoreError as error:
            del self._tried[number]  # The next look may fare better.
            self._refuse(status, error, "it cannot be fetched")
        except ArtifactError as error:
            # Clients need not know where on the machine the model lies.
            self._refuse(status, error, str(error).replace(f"{directory.parent}/", ""))
        except Exception as error:  # Whatever a version does, the others go on.
            self._refuse(status, error, f"it failed to load: {type(error).__name__}")
        else:
            self._name = classifier.manifest.name
            self._statuses[number] = VersionStatus(number, "AVAILABLE")
            self._serving = {**self._serving, number: classifier}
            logger.info("version %d is served", number)
            return True
        return replaces

    def _check_same_model(self, classifier: Classifier) -> None:
        name = classifier.manifest.name
        if self._name not in ("", name):
            raise ArtifactError(f"it is a version of another model, {name}, not {self._name}")

    def _refuse(self, status: VersionStatus, error: Exception, reason: str) -> None:
        self.metrics.count_refused_version()
        status.error = reason
        if status.state == "LOADING":
            status.state = "END"
        traceback = None if isinstance(error, ArtifactError) else error
        logger.error("version %d is refused: %s", status.number, error, exc_info=traceback)

    def _let_go(self, number: int) -> None:
        """Take a version out of service; its memory is free when the last request lets go."""
        classifier = self._serving[number]
        status = self._statuses[number]
        status.state = "UNLOADING"
        self._tried.pop(number, None)
        self._serving = {n: c for n, c in self._serving.items() if n != number}
        weakref.finalize(classifier, setattr, status, "state", "END").atexit = False
        logger.info("version %d is no longer served", number)
