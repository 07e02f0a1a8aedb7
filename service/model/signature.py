"""Holds a model directory against the signature of whoever published it.

Digests in a manifest notice accidents: who can write the directory can write them too. A signature
made by OpenSSF's model_signing is proof that its files are those that the key's owner signed.
"""

import importlib.util
from pathlib import Path

from service.model.artifact import SIGNATURE
from service.errors import ArtifactError


def verify_signature(directory: Path, public_key: Path) -> None:
    """Do nothing if every file of a version is as it was signed, and there is no other.

    Args:
        directory: Of the version, with its signature at `SIGNATURE`.
        public_key: PEM file; an elliptic curve's.

    Raises:
        ArtifactError: It is not signed, by somebody else, or was changed since; or what checks
            that is not installed.
    """
    if importlib.util.find_spec("model_signing") is None:
        raise ArtifactError(
            "model_public_key needs model-signing, which is not installed: it comes with the extra "
            "`signing`"
        )
    from model_signing.verifying import Config

    signature = directory / SIGNATURE
    if not signature.is_file() or signature.is_symlink():
        raise ArtifactError(f"{signature} is missing: the model is not signed")
    try:
        checker = Config().use_elliptic_key_verifier(public_key=public_key)
    except Exception as error:  # Of reading a file, of PEM, of the kind of key.
        raise ArtifactError(f"{public_key} is no public key that can be used: {error}") from error
    try:
        checker.verify(directory, signature)
    except Exception as error:  # Whatever is in a signature that somebody else wrote.
        reason = " ".join(str(error).split()) or "it is not by this key"
        raise ArtifactError(f"{signature} does not hold: {reason}") from error
