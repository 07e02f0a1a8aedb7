"""Fixtures of the tests of the service."""

from tests.service.conftest import artifact, client, engine_choice

__all__ = ["artifact", "client", "engine_choice"]
