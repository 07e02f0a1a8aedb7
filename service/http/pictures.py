"""A request's body, in any of its forms, to prepared pictures."""

from contextlib import nullcontext
from dataclasses import dataclass

from starlette.requests import Request

from service.capacity.admission import Ticket
from service.http.admission import expect_long_job
from service.http.body import check_announced, read_body
from service.http.forms import Form
from service.http.multipart import read_files
from service.model.classifier import Classifier
from service.errors import TooManyImages, UnsupportedMediaType
from service.images.decode import Prepare, PreparedImage
from service.protocols.instances import read_instances
from service.telemetry.record import finish
from service.images.picture_reader import PictureReader
from service.settings import Settings

PICTURE_MEDIA_TYPES = ("image/png", "image/jpeg", "image/webp", "image/gif", "image/bmp")

# A file of unknown type, and no Content-Type at all, as `curl -T` sends it: the bytes tell.
_UNTYPED = ("", "application/octet-stream")

FORM = "multipart/form-data"

_MEDIA_TYPES = {*_UNTYPED, *PICTURE_MEDIA_TYPES, "application/json", FORM}

LONG_BODY_BYTES = 65536
"""What carries pictures and is longer takes long: if its turn would not come, it stays unread."""


@dataclass(slots=True)
class Upload:
    """A body as it came over the wire, within the size limit and of a media type that is read."""

    media_type: str
    content_type: str
    body: bytes
    _files: list[bytes] | None = None

    def files(self, most: int) -> list[bytes]:
        """Return the files of a form, which is taken apart once; see `read_files`."""
        if self._files is None:
            self._files = read_files(self.body, content_type=self.content_type, max_files=most)
        return self._files


def media_type_of(content_type: str) -> str:
    """Return the media type that a Content-Type names, empty if it names none.

    Raises:
        UnsupportedMediaType: It is none of those that carry pictures.
    """
    media_type = content_type.split(";", maxsplit=1)[0].strip().lower()
    if media_type not in _MEDIA_TYPES:
        raise UnsupportedMediaType(
            f"Content-Type {media_type!r}: send a picture ({', '.join(PICTURE_MEDIA_TYPES)}), "
            "multipart/form-data with files, or application/json"
        )
    return media_type


async def receive(request: Request, ticket: Ticket) -> Upload:
    """Receive the body of a request that carries pictures.

    Raises:
        UnsupportedMediaType: Its Content-Type is none of those the routes read.
        Overloaded: It is long, and there is too much long work already.
        RequestError: The body is refused by `read_body`, before anything else if by its head.
    """
    content_type = request.headers.get("Content-Type", "")
    media_type = media_type_of(content_type)
    # Who is to come back later had better know that it would be for nothing.
    check_announced(request.headers, request.app.state.settings.max_body_bytes)
    is_long = int(request.headers.get("Content-Length", 0)) > LONG_BODY_BYTES
    with expect_long_job(request, ticket) if is_long else nullcontext():
        body = await read_body(request, ticket)
    return Upload(media_type, content_type, body)


def decode(
    upload: Upload, *, prepare: Prepare, classifier: Classifier, settings: Settings, ticket: Ticket
) -> list[PreparedImage]:
    """Return the pictures of an upload in the order sent, ready for the classifier.

    Raises:
        RequestError: One of them is refused; the message says which and why.
    """
    if upload.media_type == FORM:
        form = open_form(
            upload, prepare=prepare, classifier=classifier, settings=settings, ticket=ticket
        )
        return form.read()
    reader = PictureReader(prepare, classifier.manifest.input.size, settings.max_pixels, ticket)
    if upload.media_type == "application/json":
        return read_instances(upload.body, reader, settings)
    return [reader.read(upload.body)]


def open_form(
    upload: Upload, *, prepare: Prepare, classifier: Classifier, settings: Settings, ticket: Ticket
) -> Form:
    """Return the pictures of an upload that is a form, still to be read.

    Raises:
        RequestError: It is none, or has too many.
    """
    files = upload.files(settings.max_images)
    ticket.hold_images(len(files))
    finish("decode")
    reader = PictureReader(prepare, classifier.manifest.input.size, settings.max_pixels, ticket)
    return Form(files, reader)


def decode_one(
    upload: Upload, *, prepare: Prepare, classifier: Classifier, settings: Settings, ticket: Ticket
) -> PreparedImage:
    """Return the only picture of an upload, as `decode` does.

    Raises:
        TooManyImages: There are others.
        RequestError: It is refused.
    """
    images = decode(
        upload, prepare=prepare, classifier=classifier, settings=settings, ticket=ticket
    )
    if len(images) != 1:
        raise TooManyImages(f"{len(images)} pictures, this is answered for one at a time")
    return images[0]
