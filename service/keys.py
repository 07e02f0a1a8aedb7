"""API keys, stored as digests and compared in constant time.

`fashion-mnist-keys NAME` (in a checkout `python -m service.keys NAME`) creates one. It prints the
key's line for the service and, on stderr and only once, the key for the client.
"""

import argparse
import hashlib
import hmac
import logging
import re
import secrets
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from .errors import Forbidden, StartError, Unauthenticated

Scope = Literal["predict", "administer", "observe"]
"""Predictions; loading and unloading the model; reading metrics. No scope implies another."""

LOOK_SECONDS = 1.0  # Between two looks at the key file for changes.
SCOPES: tuple[Scope, ...] = get_args(Scope)

logger = logging.getLogger(__name__)

_LINE = re.compile(r"([A-Za-z0-9._-]{1,64}):([a-z+]+):sha256:([0-9a-f]{64})")


class Key(NamedTuple):
    """One client's key as the service stores it."""

    name: str  # The client's, for logs and metrics.
    scopes: frozenset[Scope]
    digest: bytes  # SHA-256 of the secret.

    def require(self, scope: Scope) -> None:
        """Raise Forbidden unless the key has this scope."""
        if scope not in self.scopes:
            raise Forbidden(f"the API key {self.name!r} does not have the scope {scope!r}")

    def line(self) -> str:
        """Return the line that `read_keys` reads."""
        scopes = "+".join(scope for scope in SCOPES if scope in self.scopes)
        return f"{self.name}:{scopes}:sha256:{self.digest.hex()}"


@dataclass
class KeyRing:
    """The accepted keys, reloaded from their file when it changes."""

    keys: Sequence[Key]
    file: Path | None = None
    _state: object = None
    _next_look: float = field(default=float("-inf"), init=False)

    def find(self, secret: str) -> Key | None:
        """Return the key with this secret, or None."""
        if self.file is not None and time.monotonic() > self._next_look:
            self._look(self.file)
        digest = _digest(secret)
        # Compare all keys, so that the time reveals nothing.
        found = [key for key in self.keys if hmac.compare_digest(key.digest, digest)]
        return found[0] if found else None

    def _look(self, file: Path) -> None:
        self._next_look = time.monotonic() + LOOK_SECONDS
        before = self._state
        try:
            # Kubernetes replaces a mounted secret by renaming; an editor may write in place.
            stat = file.stat()
            self._state = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
            if self._state != before:
                self.keys = _read_file(file)
                if before:
                    logger.info("the API keys have changed: %d are accepted", len(self.keys))
        except (OSError, StartError) as error:
            self._state = str(error)  # Log the error once.
            if self._state != before:
                logger.log(logging.ERROR, "the previous API keys stay valid: %s", error)

    def identify(self, headers: Mapping[str, str]) -> Key:
        """Return the key in `authorization` or else `x-api-key`, or raise Unauthenticated."""
        scheme, _, secret = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            secret = headers.get("x-api-key", "")
        if key := self.find(secret.strip()):
            return key
        if secret:
            raise Unauthenticated("the API key is not accepted")
        raise Unauthenticated(
            "an API key is required: send `Authorization: Bearer …` or `X-API-Key: …`"
        )


def make_key(name: str, scopes: Iterable[Scope]) -> tuple[str, Key]:
    """Return a new secret, which is stored nowhere, and its key."""
    # A secret of 256 bits needs no slow hash, which would cost time in every request.
    secret = f"fashion_{secrets.token_urlsafe(32)}"
    return secret, Key(name, frozenset(scopes), _digest(secret))


def read_keys(text: str) -> list[Key]:
    """Read lines of `name:scope+scope:sha256:digest`, with blank lines and # comments.

    Raises StartError for an invalid line, a repeated name or digest, or no key. The message does
    not quote the line, which may be a key pasted by mistake.
    """
    keys: dict[str | bytes, Key] = {}  # By name and by digest.
    for number, line in enumerate(text.splitlines(), start=1):
        content = line.strip()
        if not content or content.startswith("#"):
            continue
        match = _LINE.fullmatch(content)
        scopes = frozenset(scope for scope in SCOPES if match and scope in match[2].split("+"))
        if match is None or len(scopes) != len(match[2].split("+")):
            raise StartError(
                f"line {number} of the API keys is not of the form name:predict+administer:"
                "sha256:digest, which `fashion-mnist-keys` prints"
            )
        key = Key(match[1], scopes, bytes.fromhex(match[3]))
        if key.name in keys or key.digest in keys:
            raise StartError(f"line {number} of the API keys repeats a name or a key")
        keys[key.name] = keys[key.digest] = key
    if not keys:
        raise StartError("API keys are configured, but the list is empty")
    return list(dict.fromkeys(keys.values()))


def load_keys(lines: str, file: Path | None) -> KeyRing | None:
    """Return the keys in `file` or in comma-separated `lines`; None if neither is set.

    Raises StartError if the file cannot be read, and as `read_keys`.
    """
    if file is not None:
        return KeyRing(_read_file(file), file)
    return KeyRing(read_keys(lines.replace(",", "\n"))) if lines else None


def _read_file(file: Path) -> list[Key]:
    try:
        return read_keys(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise StartError(f"the API keys cannot be read from {file}: {error}") from error


def main(arguments: Sequence[str] | None = None) -> int:
    """Make a key: print its line to stdout, and the key itself to stderr."""
    parser = argparse.ArgumentParser("fashion-mnist-keys", description=__doc__)
    parser.add_argument("name", help="name of the key in logs and metrics: A-Z a-z 0-9 . _ -")
    parser.add_argument("--scopes", nargs="+", choices=SCOPES, default=["predict"])
    options = parser.parse_args(arguments)
    secret, key = make_key(options.name, options.scopes)
    if not _LINE.fullmatch(key.line()):
        parser.error("a name has 1 to 64 of the characters A-Z a-z 0-9 . _ -")
    print(f"The key, shown only once: {secret}", file=sys.stderr)
    print(key.line())
    return 0


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


if __name__ == "__main__":
    sys.exit(main())
