"""Silence for what native libraries write about themselves."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def native_noise_hidden() -> Iterator[None]:
    """Hide what TensorFlow's native code writes to stderr; show it if the block fails.

    Its logging setting does not reach what it logs before it is set up, nor its converter.
    """
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as noise:
        os.dup2(noise.fileno(), 2)
        try:
            yield
        except Exception:
            noise.seek(0)
            os.write(stderr, noise.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
