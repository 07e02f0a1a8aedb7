"""Takes the files out of a form that is already in memory; nothing is written to disk."""

from multipart import (
    MultipartError,
    MultipartSegment,
    PushMultipartParser,
    parse_options_header,
)

from service.errors import InvalidMultipart, TooManyImages

_HEADER_CHARSET = "latin-1"
"""Any bytes are text in it, and of the headers only what is ASCII counts."""


def read_files(body: bytes, *, content_type: str, max_files: int) -> list[bytes]:
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
    # Errors are let go of with the frames they came through: those know of the error, and the form
    # would wait for the garbage collector.
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
