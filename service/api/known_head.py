"""Recognises a request that begins as the one before it did."""

import re
from typing import NamedTuple

from service.api.short_way import Head

_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: ?([0-9]+)(?=\r\n)", re.IGNORECASE)
_MOST_DIGITS = 6


class KnownHead(NamedTuple):
    """The bytes of a head that was parsed, but for the number behind Content-Length.

    Clients send one head again and again. Between two messages a parser makes the same of the same
    bytes, so that it need not be asked.

    Attributes:
        head: What was made of it.
        before: Its bytes up to the number.
        after: Its bytes behind the number, to the blank line.
    """

    head: Head
    before: bytes
    after: bytes

    @classmethod
    def learn(cls, data: bytes, head: Head) -> "KnownHead | None":
        """Return what is to be recognised, or None if that is not beyond doubt.

        Args:
            data: From the first byte of a message to the first of its body.
            head: What was made of it.
        """
        lengths = list(_LENGTH.finditer(data))
        if data.find(_END) != len(data) - len(_END) or len(lengths) != 1:
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
