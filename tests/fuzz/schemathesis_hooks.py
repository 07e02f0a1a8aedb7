"""What OpenAPI cannot say of this service; Schemathesis loads it by name."""

from typing import Any

import schemathesis


@schemathesis.hook
def filter_case(context: Any, case: Any) -> bool:
    """Leave out requests that name a version twice: of two parameters one may be given."""
    del context
    return not {"version", "version_label"} <= set(case.query or {})
