"""Types of settings that are written shorter than JSON, for people to type."""

import json
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, PlainSerializer, PositiveInt
from pydantic_settings import NoDecode


def _read_policy(value: object) -> object:
    if not isinstance(value, str) or value in ("latest", "all"):
        return value
    numbers = [part.strip() for part in value.split(",")]
    if not all(number.isascii() and number.isdecimal() for number in numbers):
        raise ValueError(f"{value!r} is neither latest, all, nor version numbers such as 1,3")
    return tuple(int(number) for number in numbers)


def _write_policy(policy: str | tuple[int, ...]) -> str:
    return policy if isinstance(policy, str) else ",".join(map(str, policy))


def _read_labels(value: object) -> object:
    if not isinstance(value, str):
        return value
    if value.startswith("{"):
        return json.loads(value)
    pairs = [part.partition("=") for part in value.split(",") if part.strip()]
    if not all(label.strip() and equals for label, equals, _ in pairs):
        raise ValueError(f"{value!r} is not of the form stable=1,canary=2")
    return {label.strip(): number.strip() for label, _, number in pairs}


_ORIGIN = re.compile(r"https?://[A-Za-z0-9.\[\]:-]+")


def _read_origins(value: object) -> object:
    if not isinstance(value, str):
        return value
    if value.startswith("["):
        return json.loads(value)
    return tuple(origin.strip() for origin in value.split(",") if origin.strip())


def _check_origin(origin: str) -> str:
    if origin != "*" and not _ORIGIN.fullmatch(origin):
        raise ValueError(f"{origin!r} is neither * nor of the form https://example.org")
    return origin


def _read_location(value: object) -> object:
    return Path(value) if isinstance(value, str) and "://" not in value else value


Location = Annotated[Path | str, BeforeValidator(_read_location)]
"""A path, or the URL of a store."""

VersionPolicy = Annotated[
    Literal["latest", "all"] | tuple[PositiveInt, ...],
    NoDecode,  # By hand, so that a list need not be JSON.
    BeforeValidator(_read_policy),
    PlainSerializer(_write_policy, when_used="json"),
]

VersionLabels = Annotated[
    dict[str, PositiveInt],
    NoDecode,
    BeforeValidator(_read_labels),
    PlainSerializer(json.dumps, when_used="json"),
]


Origins = Annotated[
    tuple[Annotated[str, AfterValidator(_check_origin)], ...],
    NoDecode,
    BeforeValidator(_read_origins),
    PlainSerializer(",".join, when_used="json"),
]
