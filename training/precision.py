"""Which number format the training computes in."""

import re
from pathlib import Path

from training.backend import has_accelerator

CPU_DESCRIPTION = Path("/proc/cpuinfo")
BFLOAT16_INSTRUCTIONS = {"avx512_bf16", "amx_bf16"}


def dtype_policy(mixed_precision: bool) -> str:
    """Return Keras' dtype policy.

    Args:
        mixed_precision: whether bfloat16 is wanted. Accelerators have it; a processor that has to
            emulate it is slower with it, some many times over, and then float32 it stays.
    """
    fast = has_accelerator() or _has_bfloat16()
    return "mixed_bfloat16" if mixed_precision and fast else "float32"


def _has_bfloat16() -> bool:
    """Read the processor's features as Linux tells them; elsewhere they are not known."""
    if not CPU_DESCRIPTION.exists():
        return False
    words = set(re.findall(r"\w+", CPU_DESCRIPTION.read_text(encoding="utf-8")))
    return not words.isdisjoint(BFLOAT16_INSTRUCTIONS)
