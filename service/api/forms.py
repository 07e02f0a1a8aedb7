"""The pictures of a form: read and classified a part at a time, by all threads that are free."""

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

from service.arrays import Assessment, Pixels
from service.classifier import Classifier
from service.errors import RequestError
from service.images import PreparedImage
from service.plain_png import looks_plain
from service.teamwork import WORTH_SHARING_BYTES, Helpers

MOST_IN_A_PART = 32
"""More pictures at once gain the network nothing."""

_decoding = threading.Lock()
"""Pillow lets go of the interpreter's lock for each picture. Two threads that decode small ones
wake each other at every one of them, which takes longer than the picture does."""


class Form:
    """The pictures of a form.

    Args:
        files: Their bytes.
        read: Decodes and prepares one of them.
        takes_plain: Whether a small one is taken as it is.
        shape: (height, width) of such a one.
    """

    def __init__(
        self,
        files: Sequence[bytes],
        read: Callable[[bytes], PreparedImage],
        *,
        takes_plain: bool,
        shape: tuple[int, int],
    ) -> None:
        self._files = files
        self._read = read
        self._is_small = sum(map(len, files)) < WORTH_SHARING_BYTES * len(files)
        self._decoding: AbstractContextManager[object] = nullcontext()
        if takes_plain and self._is_small and all(looks_plain(file, shape) for file in files):
            self._decoding = _decoding

    def read(self) -> list[PreparedImage]:
        """Return all pictures in the order sent.

        Raises:
            RequestError: One of them is refused; the message says which and why.
        """
        return [self._read_one(index) for index in range(len(self._files))]

    def classify(
        self, classifier: Classifier, helpers: Helpers | None
    ) -> tuple[list[PreparedImage], Assessment]:
        """Return all pictures in the order sent, and what the network says of each.

        Args:
            classifier: Whose network runs.
            helpers: Who may help.

        Raises:
            RequestError: One of them is refused; the message says which and why.
        """
        images: dict[range, list[PreparedImage]] = {}

        def read(part: range) -> list[Pixels]:
            with self._decoding:
                images[part] = [self._read_one(index) for index in part]
            return [image.pixels for image in images[part]]

        parts = self._parts()
        assessment = classifier.assess_parts(parts, read, helpers)
        return [image for part in parts for image in images[part]], assessment

    def _parts(self) -> list[range]:
        """Return the indices of pictures that one thread is to read and classify at once."""
        count = len(self._files)
        size = -(-count // -(-count // MOST_IN_A_PART)) if self._is_small else 1
        return [range(count)[first : first + size] for first in range(0, count, size)]

    def _read_one(self, index: int) -> PreparedImage:
        try:
            return self._read(self._files[index])
        except RequestError as error:
            raise error.at(f"files[{index}]") from error
