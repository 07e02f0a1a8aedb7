"""What differs between the libraries that Keras can compute with.

The published model is TensorFlow's. To train, any backend of Keras will do (KERAS_BACKEND): a
machine with an accelerator may have JAX for it and no TensorFlow.
"""

import importlib.util
import os
from typing import Any

import keras


def is_tensorflow() -> bool:
    """Say whether Keras computes with TensorFlow."""
    return bool(keras.backend.backend() == "tensorflow")


def make_deterministic() -> None:
    """Make the same operations on the same machine give the same numbers."""
    if is_tensorflow():
        import tensorflow as tf  # noqa: PLC0415 - it may not be installed

        tf.config.experimental.enable_op_determinism()


def has_accelerator() -> bool:
    """Say whether Keras computes on one."""
    return any(not device.startswith("cpu") for device in keras.distribution.list_devices())


def share_accelerator() -> None:
    """Have processes that are started from now on take its memory as they need it.

    JAX and TensorFlow take most of it at once otherwise, and leave the next process none.
    """
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")


def log_callbacks(folder: Any) -> list[Any]:
    """Return what writes TensorBoard's log, which takes TensorFlow."""
    if importlib.util.find_spec("tensorflow") is None:
        return []
    return [keras.callbacks.TensorBoard(str(folder), write_graph=False)]
