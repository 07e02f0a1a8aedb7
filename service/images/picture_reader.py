"""Reads the picture files of one request, under its limits."""

import threading
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

from service.capacity.admission import Ticket
from service.errors import RequestError
from service.images.decode import Prepare, PreparedImage, read_image
from service.images.plain_png import read_plain_pngs

_decoding = threading.Lock()
"""Pillow lets go of the interpreter's lock for each picture. Two threads that decode small ones
wake each other at every one of them, which takes longer than the picture does."""


@dataclass(frozen=True, slots=True)
class PictureReader:
    """How the pictures of a request are read; the attributes are arguments of `read_image`.

    Attributes:
        prepare: `auto`, `photo` or `plain`.
        shape: (height, width) of the network's input.
        max_pixels: Largest width times height that is decoded.
        ticket: Of the request; it is asked before anything is decoded.
    """

    prepare: Prepare
    shape: tuple[int, int]
    max_pixels: int
    ticket: Ticket

    def read(self, data: bytes, place: str | None = None) -> PreparedImage:
        """Return the picture of a file.

        Args:
            data: Of the file.
            place: What the client knows it by, if it may have sent others.

        Raises:
            RequestError: It is refused by `read_image`; the message begins with the place.
        """
        try:
            return read_image(
                data,
                prepare=self.prepare,
                shape=self.shape,
                max_pixels=self.max_pixels,
                weigh=self.ticket.weigh,
            )
        except RequestError as error:
            if place is None:
                raise
            raise error.at(place) from error

    def read_part(self, files: Sequence[bytes], name: str, part: range) -> list[PreparedImage]:
        """Return the pictures of some files: those of the data set all at once.

        Threads that may help each other wait for each other here; the event loop must not wait.

        Args:
            files: Of which these are some.
            name: Of all of them; a place is `name[index]`.
            part: Which.

        Raises:
            RequestError: One of them is refused; the message says which.
        """
        if self.prepare == "auto":
            some = files[part.start : part.stop]
            with nullcontext() if self.ticket.helpers is None else _decoding:
                pixels = read_plain_pngs(some, self.shape, self.max_pixels, self.ticket.weigh)
            if pixels is not None:
                return [PreparedImage(each, "none") for each in pixels]
        return [self.read(files[index], f"{name}[{index}]") for index in part]
