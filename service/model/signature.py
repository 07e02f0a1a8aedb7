"""Verifies the signature of a model directory.

Anyone who can write the files can write their digests too; only the owner of the key can sign.
"""

import importlib.util
from pathlib import Path

from service.errors import ArtifactError
from service.model.artifact import SIGNATURE


def verify_signature(directory: Path, public_key: Path) -> None:
    """Raise ArtifactError unless a version has exactly the files that the key's owner signed.

    `public_key` is a PEM file of an elliptic-curve key; OpenSSF's model_signing signs.
    """
    if importlib.util.find_spec("model_signing") is None:
        raise ArtifactError(
            "model_public_key needs model-signing, which is not installed: it comes with the extra "
            "`signing`"
        )
    from model_signing.verifying import Config  # noqa: PLC0415 (an optional requirement)

    signature = directory / SIGNATURE
    if not signature.is_file() or signature.is_symlink():
        raise ArtifactError(f"{signature} is missing: the model is not signed")
    # model_signing lets the errors of its dependencies through: of files, PEM and JSON.
    try:
        verifier = Config().use_elliptic_key_verifier(public_key=public_key)
    except Exception as error:
        raise ArtifactError(f"{public_key} is no public key that can be used: {error}") from error
    try:
        verifier.verify(directory, signature)
    except Exception as error:
        reason = " ".join(str(error).split()) or "it is not by this key"
        raise ArtifactError(f"{signature} does not hold: {reason}") from error
