"""Fuzzing uses the service as its other tests do."""

from tests.service.conftest import artifact, client, engine_choice

__all__ = ["artifact", "client", "engine_choice"]
