"""Fuzzing uses the service as its other tests do."""

from tests.service.conftest import client, engine_choice

__all__ = ["client", "engine_choice"]
