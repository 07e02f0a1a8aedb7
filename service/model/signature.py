"""Verifies the signature of a model directory.

Anyone who can write the files can write their digests too; only the key's owner can sign.
"""

import importlib.util
from pathlib import Path

from ..errors import ArtifactError
from .artifact import SIGNATURE


def verify_signature(directory: Path, public_key: Path) -> None:
    """Raise ArtifactError unless model_signing verifies every file with this elliptic-curve key."""
    if importlib.util.find_spec("model_signing") is None:
        raise ArtifactError(
            "model_public_key needs model-signing, which is not installed: it comes with the extra "
            "`signing`"
        )
    from model_signing.verifying import Config  # noqa: PLC0415 (an optional requirement)

    signature = directory / SIGNATURE
    if not signature.is_file() or signature.is_symlink():
        raise ArtifactError(f"{signature} is missing: the model is not signed")
    # model_signing does not wrap the errors of its dependencies (files, PEM, JSON).
    try:
        verifier = Config().use_elliptic_key_verifier(public_key=public_key)
    except Exception as error:
        raise ArtifactError(f"{public_key} is not a usable public key: {error}") from error
    try:
        verifier.verify(directory, signature)
    except Exception as error:
        reason = " ".join(str(error).split()) or "it was not made with this key"
        raise ArtifactError(f"{signature} is not valid: {reason}") from error
