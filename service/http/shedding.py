"""Rejects large requests under overload by their heads, before their bodies are read.

The application would take a good part of a millisecond for each, with the body already in memory.
"""

from collections.abc import Mapping
from typing import Any

from starlette.datastructures import State

from ..capacity.admission import Admission
from ..capacity.pools import Pools
from ..errors import Draining, Overloaded, RequestError
from ..keys import KeyRing
from ..settings import Settings
from ..telemetry.instrumentation import Instrumentation
from .inference import LARGE_BODY_BYTES, check_head, deadline_seconds, plain_headers
from .messages import describe, error_body, reply
from .protocol import Reply

_ROUTES = {"/predict", "/feature-maps", "/preparation"}
_METHODS = {"POST", "PUT"}


class LoadShedder:
    """Rejects requests with the application's own responses."""

    def __init__(self, state: State) -> None:
        self._settings: Settings = state.settings
        self._admission: Admission = state.admission
        self._pools: Pools = state.pools
        self._instrumentation: Instrumentation = state.instrumentation
        self._keys: KeyRing | None = state.keys

    def reject(self, scope: Any) -> Reply | None:
        """Return the response to a request if it is rejected."""
        if not self._pools.has_large_jobs and self._admission.is_open:
            return None
        fields = plain_headers(scope)
        if scope["path"] not in _ROUTES or scope["method"] not in _METHODS or fields is None:
            return None
        headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in fields.items()}
        size = int(headers.get("content-length", 0))
        if not size > LARGE_BODY_BYTES or "expect" in headers or "origin" in headers:
            return None
        try:
            check_head(headers, self._settings.max_body_bytes)
            key = None if self._keys is None else self._keys.identify(headers)
            if key is not None:
                key.require("predict")
            seconds = deadline_seconds(headers, self._settings.deadline_seconds)
        except RequestError:
            return None  # The application reports the error.
        try:
            self._admission.check()
            self._pools.check_large_job(seconds)
        except (Draining, Overloaded) as error:
            return self._reply(scope, headers, key.name if key else "", error)
        return None

    def _reply(
        self, scope: Any, headers: Mapping[str, str], key: str, error: RequestError
    ) -> Reply:
        record = self._instrumentation.begin(headers)
        describe(record, scope)
        record.key, record.route, record.status = key, scope["path"], error.status
        body = error_body(scope["path"], record, error.code, str(error))
        self._instrumentation.end(record)
        return reply(record, body, headers=error.headers)
