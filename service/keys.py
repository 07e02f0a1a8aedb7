"""API keys: made once, kept as digests, compared in constant time.

`python -m service.keys NAME` makes one: the key for the client, and its line for the service.
"""

import argparse
import hashlib
import hmac
import re
import secrets
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from service.errors import StartError

Scope = Literal["predict", "administer"]
"""What a key allows: asking the model, or loading and unloading it. Neither implies the other."""

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

    def line(self) -> str:
        """Return the line that `read_keys` reads."""
        scopes = "+".join(scope for scope in SCOPES if scope in self.scopes)
        return f"{self.name}:{scopes}:sha256:{self.digest.hex()}"


class KeyRing:
    """The keys that are accepted."""

    def __init__(self, keys: Iterable[Key]) -> None:
        self._keys = tuple(keys)

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
