"""Constraints that OpenAPI cannot express; Schemathesis loads this module by name."""

from typing import Any

import schemathesis


@schemathesis.hook
def filter_case(context: Any, case: Any) -> bool:
    """Skip requests with both parameters for the version, which exclude each other."""
    del context
    return not {"version", "version_label"} <= set(case.query or {})
