"""The pictures of a form: read and classified a part at a time, by all threads that are free."""

import threading
from collections.abc import Callable, Sequence
from contextlib import nullcontext

from service.api.batches import MOST_TOGETHER
from service.arrays import Assessment, Pixels
from service.classifier import Classifier
from service.errors import RequestError
from service.images import PreparedImage
from service.plain_png import looks_plain
from service.teamwork import WORTH_SHARING_BYTES, Helpers

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
        self._takes_plain = takes_plain
        self._shape = shape

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
        count = len(self._files)
        is_small = sum(map(len, self._files)) < WORTH_SHARING_BYTES * count
        size = -(-count // -(-count // MOST_TOGETHER)) if is_small else 1
        parts = [range(count)[first : first + size] for first in range(0, count, size)]
        in_turn = is_small and self._takes_plain and self._are_plain()
        images: dict[range, list[PreparedImage]] = {}

        def read(part: range) -> list[Pixels]:
            with _decoding if in_turn else nullcontext():
                images[part] = [self._read_one(index) for index in part]
            return [image.pixels for image in images[part]]

        assessment = classifier.assess_parts(parts, read, helpers)
        return [image for part in parts for image in images[part]], assessment

    def _are_plain(self) -> bool:
        return all(looks_plain(file, self._shape) for file in self._files)

    def _read_one(self, index: int) -> PreparedImage:
        try:
            return self._read(self._files[index])
        except RequestError as error:
            raise error.at(f"files[{index}]") from error
