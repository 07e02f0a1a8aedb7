"""The pictures of a form: read and classified a part at a time, by all threads that are free."""

from collections.abc import Sequence
from dataclasses import dataclass

from service.http.batches import MOST_TOGETHER
from service.arrays import Assessment, Pixels
from service.model.classifier import Classifier
from service.images.decode import PreparedImage
from service.images.picture_reader import PictureReader
from service.capacity.parallel import WORTH_SHARING_BYTES

_NAME = "files"
"""What a refusal calls them, whatever the fields of the form are called."""


@dataclass(frozen=True, slots=True)
class Form:
    """The pictures of a form.

    Attributes:
        files: Their bytes.
        reader: Decodes and prepares them.
    """

    files: Sequence[bytes]
    reader: PictureReader

    def read(self) -> list[PreparedImage]:
        """Return all pictures in the order sent.

        Raises:
            RequestError: One of them is refused; the message says which and why.
        """
        return self.reader.read_part(self.files, _NAME, range(len(self.files)))

    def classify(self, classifier: Classifier) -> tuple[list[PreparedImage], Assessment]:
        """Return all pictures in the order sent, and what the network says of each.

        Args:
            classifier: Whose network runs.

        Raises:
            RequestError: One of them is refused; the message says which and why.
        """
        count = len(self.files)
        is_small = sum(map(len, self.files)) < WORTH_SHARING_BYTES * count
        size = -(-count // -(-count // MOST_TOGETHER)) if is_small else 1
        parts = [range(count)[first : first + size] for first in range(0, count, size)]
        images: dict[range, list[PreparedImage]] = {}

        def read(part: range) -> list[Pixels]:
            images[part] = self.reader.read_part(self.files, _NAME, part)
            return [image.pixels for image in images[part]]

        assessment = classifier.assess_parts(parts, read, self.reader.ticket.helpers)
        return [image for part in parts for image in images[part]], assessment
