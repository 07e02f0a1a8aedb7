from collections.abc import Iterator

import pytest

from service.capacity.admission import Admission, Limits, Permit
from service.telemetry.record import RequestRecord


@pytest.fixture
def permit() -> Iterator[Permit]:
    """The permit of a request with at most three images."""
    admission = Admission(max_images=10, max_bytes=1000, limits=Limits(max_images=3))
    with admission.admit(RequestRecord("1")) as permit:
        yield permit
