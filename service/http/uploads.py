"""A request's body, in any of its forms, to prepared images."""

from contextlib import nullcontext
from typing import NamedTuple

from fastapi import Request
from multipart import (
    MultipartError,
    MultipartSegment,
    PushMultipartParser,
    parse_options_header,
)

from service.capacity.admission import Permit
from service.errors import InvalidMultipart, TooManyImages
from service.http.inference import LARGE_BODY_BYTES, check_head, expect_large_job, read_body
from service.http.messages import FORM, media_type_of
from service.images.decode import ImageReader, PreparedImage
from service.protocols.instances import read_instances

_HEADER_CHARSET = "latin-1"
"""Any bytes are text in it, and of the headers of a part only ASCII counts."""


class Upload(NamedTuple):
    """A body within the size limit, and of a media type that is read."""

    media_type: str
    content_type: str
    body: bytes


async def receive_upload(request: Request, permit: Permit) -> Upload:
    """Receive the body of a request that carries images.

    Raises:
        UnsupportedMediaType: Its Content-Type is none of those that are read.
        Overloaded: It is a large job, and there are too many already.
        RequestError: The body is refused by `read_body`.
    """
    content_type = request.headers.get("Content-Type", "")
    media_type = media_type_of(content_type)
    # Before "come back later": what is wrong with the request stays wrong.
    check_head(request.headers, request.app.state.settings.max_body_bytes)
    is_large = int(request.headers.get("Content-Length", 0)) > LARGE_BODY_BYTES
    with expect_large_job(request, permit) if is_large else nullcontext():
        body = await read_body(request, permit)
    return Upload(media_type, content_type, body)


def read_upload(upload: Upload, reader: ImageReader) -> list[PreparedImage]:
    """Return the images of an upload in the order sent.

    Raises:
        RequestError: One of them is refused; the message says which and why.
    """
    if upload.media_type == FORM:
        permit = reader.permit
        files = read_files(upload.body, upload.content_type, permit.limits.max_images)
        permit.reserve_images(len(files))
        permit.record.record_phase("decode")
        return reader.read_all(files, "files")
    if upload.media_type == "application/json":
        return read_instances(upload.body, reader)
    return [reader.read(upload.body)]


def read_only_image(upload: Upload, reader: ImageReader) -> PreparedImage:
    """Return the only image of an upload; raises TooManyImages if there are others."""
    images = read_upload(upload, reader)
    if len(images) != 1:
        raise TooManyImages(f"{len(images)} pictures, this is answered for one at a time")
    return images[0]


def read_files(body: bytes, content_type: str, max_files: int) -> list[bytes]:
    """Return the contents of a form's files in the order sent, whatever their field names.

    Raises:
        InvalidMultipart: The form is malformed, has no files, or has parts that are not files.
        TooManyImages: It has more than `max_files` files.
    """
    _, options = parse_options_header(content_type)
    boundary = options.get("boundary")
    if not boundary:
        raise InvalidMultipart("the Content-Type of the form names no boundary")
    files: list[bytes] = []
    content = b""
    # Tracebacks are dropped: their frames refer to the error, and the form would wait for the
    # garbage collector.
    try:
        parser = PushMultipartParser(boundary, header_charset=_HEADER_CHARSET, strict=True)
        for event in parser.parse(body):
            if event is None:
                files.append(content)
            elif isinstance(event, MultipartSegment):
                _check_part(event, len(files), max_files)
                content = b""
            else:
                content = bytes(event)  # All of it, since all of the form is here.
    except MultipartError as error:
        problem = f"the form is malformed: {error}"
        raise InvalidMultipart(problem) from error.with_traceback(None)
    try:
        parser.close()
    except MultipartError as error:
        problem = "the form ends before its closing boundary"
        raise InvalidMultipart(problem) from error.with_traceback(None)
    if not files:
        raise InvalidMultipart("the form has no files")
    return files


def _check_part(part: MultipartSegment, number: int, max_files: int) -> None:
    if number == max_files:
        raise TooManyImages(f"the form has more than {max_files} files, the limit")
    if part.filename is None:
        raise InvalidMultipart(
            f"part {number} of the form is not a file: "
            "send pictures as files (curl -F files=@picture.png)"
        )
