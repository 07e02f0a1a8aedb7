"""What a request for the short way says before its body: read, and recognised when said again."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from service.api.direct import path_pattern
from service.api.pictures import media_type_of
from service.api.predict import SHORT_BODY_BYTES
from service.errors import RequestError

PREDICT = "/predict"

_METHODS = {b"POST": "POST", b"PUT": "PUT"}

_PROTOCOLS = (
    "/v2/models/{name}/infer",
    "/v2/models/{name}/versions/{version}/infer",
    "/v1/models/{name}:predict",
    "/v1/models/{name}/versions/{version}:predict",
    "/v1/models/{name}/labels/{label}:predict",
)
_PATTERNS = {route: re.compile(path_pattern(route).pattern.encode()) for route in _PROTOCOLS}

_UNUSUAL = {
    b"content-encoding",
    b"expect",
    b"forwarded",
    b"transfer-encoding",
    b"upgrade",
    b"x-forwarded-for",
    b"x-request-timeout",
}
"""Headers with which a request asks for more than is done here."""

_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: ?([0-9]+)(?=\r\n)", re.IGNORECASE)
_MOST_DIGITS = 20

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Head:
    """What a request says before its body.

    Attributes:
        method: HTTP's.
        target: Its path.
        route: Template of the path.
        names: What the path has in the places of the template.
        sent: Its headers, names in lower case.
        content_type: As sent; empty if it was not.
        media_type: Of it; empty for a route that reads but one.
    """

    method: str
    target: str
    route: str
    names: Mapping[str, str]
    sent: Mapping[str, str]
    content_type: str
    media_type: str


def read_head(method: bytes, target: bytes, headers: Sequence[tuple[bytes, bytes]]) -> Head | None:
    """Return the head of a request for the short way, or None if it goes another way.

    Args:
        method: HTTP's.
        target: Path and query as sent.
        headers: With names in lower case.
    """
    found = _find_route(method, target)
    if found is None:
        return None
    route, names = found
    sent = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}
    length = int(sent.get("content-length", 0))
    if not 0 < length <= SHORT_BODY_BYTES or not _UNUSUAL.isdisjoint(n for n, _ in headers):
        return None
    content_type = sent.get("content-type", "")
    try:
        media_type = media_type_of(content_type) if route == PREDICT else ""
    except RequestError:
        return None
    path = target.decode("latin-1")
    return Head(_METHODS[method], path, route, names, sent, content_type, media_type)


def _find_route(method: bytes, target: bytes) -> tuple[str, Mapping[str, str]] | None:
    """Return the template of a path, and what the path has in its places."""
    if target == PREDICT.encode() and method in _METHODS:
        return PREDICT, {}
    if method == b"POST" and target.startswith((b"/v1/", b"/v2/")):
        for route, pattern in _PATTERNS.items():
            if found := pattern.fullmatch(target):
                return route, {k: v.decode("latin-1") for k, v in found.groupdict().items()}
    return None


def end_of_head(data: bytes) -> int:
    """Return where a head ends that is whole, its blank line included."""
    return data.find(_END) + len(_END)


class KnownHead(NamedTuple, Generic[T]):
    """The bytes of a head that was parsed, but for the number behind Content-Length.

    Clients send one head again and again. Between two messages a parser makes the same of the same
    bytes, so that it need not be asked.

    Attributes:
        head: What was made of it.
        before: Its bytes up to the number.
        after: Its bytes behind the number, to the blank line.
    """

    head: T
    before: bytes
    after: bytes

    @classmethod
    def learn(cls, data: bytes, head: T) -> "KnownHead[T] | None":
        """Return what is to be recognised, or None if that is not beyond doubt.

        Args:
            data: From the first byte of a message to the first of its body.
            head: What was made of it.
        """
        lengths = list(_LENGTH.finditer(data))
        if end_of_head(data) != len(data) or len(lengths) != 1:
            return None
        return cls(head, data[: lengths[0].start(1)], data[lengths[0].end(1) :])

    def match(self, data: bytes) -> tuple[int, int] | None:
        """Return where the body starts and how long it is, or None if this is another head."""
        if not data.startswith(self.before):
            return None
        start = len(self.before)
        end = data.find(b"\r", start, start + _MOST_DIGITS)
        digits = data[start:end]
        if end < 0 or not digits.isdigit() or not data.startswith(self.after, end):
            return None
        return end + len(self.after), int(digits)
