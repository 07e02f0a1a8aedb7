"""API keys: made once, kept as digests, compared in constant time.

`python -m service.keys NAME` makes one: the key for the client, and its line for the service.
"""

import argparse
import hashlib
import hmac
import re
import secrets
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from service.errors import Forbidden, StartError, Unauthenticated

Scope = Literal["predict", "administer", "observe"]
"""What a key allows: asking the model; loading and unloading it; reading metrics. None implies
another."""

SCOPES: tuple[Scope, ...] = get_args(Scope)

_KEY_BYTES = 32
"""Of randomness. Nobody can try 2^256 keys, so a slow hash would protect nothing and would cost
every request its time; that is why keys are made here and never chosen by people."""

_LINE = re.compile(r"([A-Za-z0-9._-]{1,64}):([a-z+]+):sha256:([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Key:
    """One client's key as the service keeps it.

    Attributes:
        name: What logs and metrics call its holder.
        scopes: What it allows.
        digest: sha256 of the key, 32 bytes.
    """

    name: str
    scopes: frozenset[Scope]
    digest: bytes

    def require(self, scope: Scope) -> None:
        """Do nothing if the key allows this.

        Raises:
            Forbidden: It does not.
        """
        if scope not in self.scopes:
            raise Forbidden(f"the API key {self.name!r} does not have the scope {scope!r}")

    def line(self) -> str:
        """Return the line that `read_keys` reads."""
        scopes = "+".join(scope for scope in SCOPES if scope in self.scopes)
        return f"{self.name}:{scopes}:sha256:{self.digest.hex()}"


class KeyRing:
    """The keys that are accepted."""

    def __init__(self, keys: Iterable[Key]) -> None:
        self._keys = tuple(keys)

    @property
    def is_empty(self) -> bool:
        """Whether no key is accepted."""
        return not self._keys

    def find(self, secret: str) -> Key | None:
        """Return the key whose secret this is, or None.

        Every key is compared, each in constant time: how long it takes tells nothing.
        """
        digest = _digest(secret)
        found = None
        for key in self._keys:
            if hmac.compare_digest(key.digest, digest):
                found = key
        return found

    def identify(self, headers: Mapping[str, str]) -> Key:
        """Return the key that a request was sent with.

        Args:
            headers: `authorization` and `x-api-key`, where they were sent; of the two, the first
                counts.

        Raises:
            Unauthenticated: It was sent with none, or with one that is not accepted.
        """
        scheme, _, secret = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            secret = headers.get("x-api-key", "")
        key = self.find(secret.strip())
        if key is None:
            raise Unauthenticated(
                "an API key is needed, as `Authorization: Bearer …` or `X-API-Key: …`"
                if not secret
                else "the API key is not accepted"
            )
        return key


def make_key(name: str, scopes: Iterable[Scope]) -> tuple[str, Key]:
    """Return a new secret, which is kept nowhere, and the key that recognises it."""
    secret = f"fashion_{secrets.token_urlsafe(_KEY_BYTES)}"
    return secret, Key(name, frozenset(scopes), _digest(secret))


def read_keys(text: str) -> KeyRing:
    """Read lines of `name:scope+scope:sha256:digest`; blank ones and # comments are skipped.

    Raises:
        StartError: A line has another form, or two have the same name or digest. The message
            gives its number and never its content, which may be a key pasted by mistake.
    """
    keys: list[Key] = []
    for number, line in enumerate(text.splitlines(), start=1):
        content = line.strip()
        if not content or content.startswith("#"):
            continue
        match = _LINE.fullmatch(content)
        scopes = frozenset(scope for scope in SCOPES if match and scope in match[2].split("+"))
        if match is None or len(scopes) != len(match[2].split("+")):
            raise StartError(
                f"line {number} of the API keys is not of the form name:predict+administer:"
                "sha256:digest, which `python -m service.keys` prints"
            )
        key = Key(match[1], scopes, bytes.fromhex(match[3]))
        if any(other.name == key.name or other.digest == key.digest for other in keys):
            raise StartError(f"line {number} of the API keys repeats a name or a key")
        keys.append(key)
    return KeyRing(keys)


def load_keys(lines: str, file: Path | None) -> KeyRing | None:
    """Return the keys that are accepted, or None if nobody is asked for one.

    Args:
        lines: As `read_keys` takes them, or with commas between them; empty if there are none.
        file: Where such lines are instead.

    Raises:
        StartError: The file cannot be read, a line is wrong, or there is no key in either.
    """
    if file is not None:
        try:
            lines = file.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise StartError(f"the API keys cannot be read from {file}: {error}") from error
    elif not lines:
        return None
    ring = read_keys(lines if file is not None else lines.replace(",", "\n"))
    if ring.is_empty:
        raise StartError("the API keys are set, but there is none among them")
    return ring


def main(arguments: Sequence[str] | None = None) -> int:
    """Make a key: print its line to stdout, and the key itself, once, to stderr."""
    parser = argparse.ArgumentParser(prog="python -m service.keys", description=__doc__)
    parser.add_argument("name", help="what logs and metrics call the holder: A-Z a-z 0-9 . _ -")
    parser.add_argument("--scopes", nargs="+", choices=SCOPES, default=["predict"])
    options = parser.parse_args(arguments)
    secret, key = make_key(options.name, options.scopes)
    if not _LINE.fullmatch(key.line()):
        parser.error("a name has 1 to 64 of the characters A-Z a-z 0-9 . _ -")
    print(f"The key, shown this once: {secret}", file=sys.stderr)
    print(key.line())
    return 0


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


if __name__ == "__main__":
    sys.exit(main())
