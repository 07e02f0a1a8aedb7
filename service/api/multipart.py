"""Takes the files out of a form that is already in memory; nothing is written to disk."""

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from service.errors import InvalidMultipart, TooManyImages


def read_files(body: bytes, *, content_type: str, max_files: int) -> list[bytes]:
    """Return the contents of a form's files in the order sent, whatever their field names.

    Raises:
        InvalidMultipart: The form is malformed, has no files, or has parts that are not files.
        TooManyImages: It has more than `max_files` files.
    """
    _, options = parse_options_header(content_type)
    try:
        boundary = options[b"boundary"]
    except KeyError as error:
        raise InvalidMultipart("the Content-Type of the form names no boundary") from error
    files = _Files(max_files)
    try:
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": files.on_part_begin,
                "on_header_field": files.on_header_field,
                "on_header_value": files.on_header_value,
                "on_header_end": files.on_header_end,
                "on_headers_finished": files.on_headers_finished,
                "on_part_data": files.on_part_data,
                "on_part_end": files.on_part_end,
                "on_end": files.on_end,
            },
        )
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise InvalidMultipart(f"the form is malformed: {error}") from error
    if not files.complete:
        raise InvalidMultipart("the form ends before its closing boundary")
    if not files.contents:
        raise InvalidMultipart("the form has no files")
    return files.contents


class _Files:
    """Callbacks of the parser; collects the content of each part that is a file."""

    def __init__(self, max_files: int) -> None:
        self.contents: list[bytes] = []
        self.complete = False
        self._max_files = max_files
        self._header_field = b""
        self._header_value = b""
        self._disposition = b""
        self._chunks: list[bytes] = []

    def on_part_begin(self) -> None:
        if len(self.contents) == self._max_files:
            raise TooManyImages(f"the form has more than {self._max_files} files, the limit")
        self._disposition = b""
        self._chunks = []

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_field += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def on_header_end(self) -> None:
        if self._header_field.lower() == b"content-disposition":
            self._disposition = self._header_value
        self._header_field = self._header_value = b""

    def on_headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        if b"filename" not in options:
            raise InvalidMultipart(
                f"part {len(self.contents)} of the form is not a file: "
                "send pictures as files (curl -F files=@picture.png)"
            )

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._chunks.append(data[start:end])

    def on_part_end(self) -> None:
        self.contents.append(b"".join(self._chunks))

    def on_end(self) -> None:
        self.complete = True
