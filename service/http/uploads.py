"""Reads a request's body, in any accepted form, into prepared images."""

import binascii
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, NamedTuple, TypeVar

from fastapi import Request
from multipart import MultipartError, MultipartSegment, PushMultipartParser

from ..arrays import WHITE, Tensor
from ..capacity.admission import Permit
from ..errors import InvalidMultipart, TooManyImages, UnsupportedMediaType
from ..images.decode import ImageReader, PreparedImage
from ..images.steps import Step
from ..model.classifier import Classifier
from ..model.repository import Repository
from ..protocols.instances import read_instances
from ..protocols.tensors import decode_base64
from .inference import read_body
from .messages import FORM, IMAGE_MEDIA_TYPES, JSON
from .schemas import ImageOptions, ModelOptions

MAX_FIELDS, MAX_FIELD_BYTES = 64, 4096  # Of a form, beside its files.
_HEADER_CHARSET = "latin-1"  # Decodes any bytes.

_BOUNDARY = re.compile(r';\s*boundary\s*=\s*"?([^";]+)', re.IGNORECASE)

_SIGNATURES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"BM")
_PNG_AS_TEXT = b"\x89PNG\r\n\x1a\r\n"
_BEFORE_JSON = b" \t\r\n\xef\xbb\xbf\xff\xfe\0"  # White space, byte order marks, UTF-16's zeros.
_UNTYPED = ("", "octet-stream", "x-octet-stream", "x-www-form-urlencoded")  # Sent by default.

Options = TypeVar("Options", bound=ImageOptions)


class Form(NamedTuple):
    """The contents of a form."""

    files: list[bytes]  # In the order sent, under any field name.
    fields: Mapping[str, str]  # Text by field name; repeated fields are joined by commas.


@dataclass(frozen=True)
class Upload:
    """A body within the size limit."""

    content_type: str
    body: bytes
    max_images: int

    @property
    def media_type(self) -> str:
        """The media type; the body's first bytes take precedence over its Content-Type."""
        media_type = self.content_type.partition(";")[0].strip().lower()
        if self.body.startswith(_SIGNATURES):
            return "image/*"
        if media_type in {FORM, JSON}:
            return media_type
        return JSON if self.body[:64].lstrip(_BEFORE_JSON)[:1] in {b"{", b"["} else media_type

    @cached_property
    def form(self) -> Form:
        """The body read by `read_form`."""
        return read_form(self.body, self.content_type, self.max_images)


async def receive_upload(request: Request, permit: Permit) -> Upload:
    """Receive the body of a request that carries images; raises the errors of `read_body`."""
    body = await read_body(request, permit, may_be_large=True)
    content_type = request.headers.get("Content-Type", "")
    return Upload(content_type, body, permit.limits.max_images)


def read_upload(upload: Upload, reader: ImageReader, scale: float = WHITE) -> list[PreparedImage]:
    """Return the images of an upload in the order sent; `scale` is white in JSON numbers.

    Raises RequestError, which names the image and the reason, if one is invalid.
    """
    media_type, permit = upload.media_type, reader.permit
    if media_type == FORM:
        form = upload.form
        if not form.files:
            raise InvalidMultipart("the form has no files")
        permit.reserve_images(len(form.files))
        permit.record.record_phase("decode")
        return reader.read_all(form.files, "files")
    if media_type == JSON:
        return read_instances(upload.body, reader, scale)
    kind, _, subtype = media_type.partition("/")
    if kind != "image" and subtype not in _UNTYPED:
        raise UnsupportedMediaType(
            f"Content-Type {media_type!r}, and the body is not an image: send an image "
            f"({IMAGE_MEDIA_TYPES}), multipart/form-data with files, or application/json"
        )
    return [reader.read(upload.body)]


class ReadImages(NamedTuple, Generic[Options]):
    """The images of a request, and what they are to be used for."""

    options: Options  # With those of a form.
    classifier: Classifier
    images: list[PreparedImage]
    steps: list[Step]  # Of their preparation.
    permit: Permit

    def to_tensor(self) -> Tensor:
        """Return the network's input."""
        tensor = self.classifier.to_images([image.pixels for image in self.images])
        self.permit.record.record_phase("prepare")
        return tensor


def find_version(options: ModelOptions, repository: Repository) -> Classifier:
    """Return the selected version; raises InvalidParameter if it lacks what the options ask for."""
    classifier = repository.classifier(options.version, options.version_label)
    options.check(classifier)
    return classifier


def read_images(
    upload: Upload, options: Options, repository: Repository, permit: Permit, *, one: bool = False
) -> ReadImages[Options]:
    """Read the images for the selected version, or only `one` with the steps of its preparation.

    Raises RequestError.
    """
    if upload.media_type == FORM and upload.form.fields:
        options = options.updated(upload.form.fields)
    classifier = find_version(options, repository)
    permit.record.record_start(classifier.manifest.version)
    steps: list[Step] = []
    shape = classifier.manifest.input.size
    reader = ImageReader(options.prepare, shape, permit, steps if one else None)
    images = read_upload(upload, reader, options.scale)
    if one and len(images) > 1:
        raise TooManyImages(f"{len(images)} images, but this route takes one at a time")
    permit.check()
    return ReadImages(options, classifier, images, steps, permit)


def read_form(body: bytes, content_type: str, max_files: int) -> Form:
    """Read a form, whose parts may be in base64 or quoted-printable.

    Raises InvalidMultipart if it is malformed, TooManyImages for more than `max_files` files.
    """
    files: list[bytes] = []
    fields: dict[str, list[str]] = {}
    for part, content in _read_parts(body, content_type):
        name, data = _decode_part(part, content)
        if name is None:
            files.append(data)
        elif len(data) > MAX_FIELD_BYTES:
            raise InvalidMultipart(f"a text field has more than {MAX_FIELD_BYTES} bytes, the limit")
        else:
            fields.setdefault(name, []).append(data.decode(errors="replace"))
        if len(files) > max_files:
            raise TooManyImages(f"the form has more than {max_files} files, the limit")
        if sum(map(len, fields.values())) > MAX_FIELDS:
            raise InvalidMultipart(f"the form has more than {MAX_FIELDS} text fields, the limit")
    return Form(files, {name: ",".join(values) for name, values in fields.items()})


def _read_parts(body: bytes, content_type: str) -> Iterator[tuple[MultipartSegment, bytes]]:
    """Yield the parts of a form, with their contents as sent."""
    boundary = _BOUNDARY.search(content_type)
    if boundary is None:
        raise InvalidMultipart("the Content-Type of the form has no boundary")
    delimiter = boundary[1].rstrip().encode(_HEADER_CHARSET)
    content = b""
    try:
        with PushMultipartParser(delimiter, header_charset=_HEADER_CHARSET) as parser:
            for event in parser.parse(body):
                if isinstance(event, MultipartSegment):
                    part, content = event, b""
                elif event is not None:
                    content = bytes(event)  # Complete, because `body` is.
                else:
                    yield part, content
    except MultipartError as error:
        problem = f"the form is malformed, or ends before its closing boundary: {error}"
        # The traceback's frames refer to the error: the cycle would keep the form in memory.
        raise InvalidMultipart(problem) from error.with_traceback(None)


def _decode_part(part: MultipartSegment, content: bytes) -> tuple[str | None, bytes]:
    """Return the name of a text field, None for a file, and its contents."""
    encoding = part.header("Content-Transfer-Encoding", "binary").strip().lower()
    if encoding == "base64":
        try:
            content = decode_base64(content.decode(_HEADER_CHARSET))
        except ValueError as error:
            raise InvalidMultipart(f"a part of the form is not valid base64: {error}") from error
    elif encoding == "quoted-printable":
        content = binascii.a2b_qp(content)
        if content.startswith(_PNG_AS_TEXT):
            raise InvalidMultipart("quoted-printable damaged the image's bytes: send base64")
    elif encoding not in {"binary", "8bit", "7bit"}:
        raise InvalidMultipart(f"a part of the form has Content-Transfer-Encoding {encoding!r}")
    kind = part.header("Content-Type", "text/plain").lower()
    is_named = "filename*" in part.header("Content-Disposition").lower() or "name=" in kind
    # Unlike `BMW`, an image has a zero byte near its start.
    is_image = content.startswith(_SIGNATURES) and b"\0" in content[:64]
    if part.filename is not None or is_named or is_image or not kind.startswith("text/"):
        return None, content
    return part.name.encode(_HEADER_CHARSET).decode(errors="replace"), content
