"""What a request for the short way says before its body: read, and recognised when said again."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar, cast, get_args

from service.http.direct import path_pattern
from service.http.pictures import media_type_of
from service.http.predict import SHORT_BODY_BYTES
from service.errors import RequestError
from service.images.decode import Prepare

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

_OPTIONS = {
    b"prepare": re.compile("|".join(get_args(Prepare)).encode()),
    b"top_k": re.compile(rb"[1-9][0-9]?"),
    b"version": re.compile(rb"[1-9][0-9]{0,8}"),
}
"""What the query of `/predict` may ask for here, each written in the plainest way."""

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


class Options(NamedTuple):
    """What the query of `/predict` asks for; see its route."""

    prepare: Prepare = "auto"
    top_k: int | None = None
    version: int | None = None


@dataclass(frozen=True, slots=True)
class Head:
    """What a request says before its body.

    Attributes:
        method: HTTP's.
        target: Path and query as sent.
        route: Template of the path.
        names: What the path has in the places of the template.
        sent: Its headers, names in lower case.
        content_type: As sent; empty if it was not.
        media_type: Of it; empty for a route that reads but one.
        options: Of `/predict`.
    """

    method: str
    target: str
    route: str
    names: Mapping[str, str]
    sent: Mapping[str, str]
    content_type: str
    media_type: str
    options: Options


def read_head(method: bytes, target: bytes, headers: Sequence[tuple[bytes, bytes]]) -> Head | None:
    """Return the head of a request for the short way, or None if it goes another way.

    Args:
        method: HTTP's.
        target: Path and query as sent.
        headers: With names in lower case.
    """
    path, mark, query = target.partition(b"?")
    found = _find_route(method, path)
    options = _read_query(query)
    if found is None or options is None or (mark and found[0] != PREDICT):
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
    asked = target.decode("latin-1")
    return Head(_METHODS[method], asked, route, names, sent, content_type, media_type, options)


def _read_query(query: bytes) -> Options | None:
    """Return what a query asks for, or None if it is not written in the plainest way."""
    if not query:
        return Options()
    given: dict[bytes, str] = {}
    for option in query.split(b"&"):
        name, _, value = option.partition(b"=")
        if name in given or name not in _OPTIONS or not _OPTIONS[name].fullmatch(value):
            return None
        given[name] = value.decode()
    top_k, version = given.get(b"top_k"), given.get(b"version")
    return Options(
        cast(Prepare, given.get(b"prepare", "auto")),
        None if top_k is None else int(top_k),
        None if version is None else int(version),
    )


def _find_route(method: bytes, path: bytes) -> tuple[str, Mapping[str, str]] | None:
    """Return the template of a path, and what the path has in its places."""
    if path == PREDICT.encode() and method in _METHODS:
        return PREDICT, {}
    if method == b"POST" and path.startswith((b"/v1/", b"/v2/")):
        for route, pattern in _PATTERNS.items():
            if found := pattern.fullmatch(path):
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
