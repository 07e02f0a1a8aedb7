"""Write the schema of a ServiceMonitor from the published models of the Prometheus operator.

Run it in a separate environment: the package installs a plugin that the tests cannot use:

    python -m venv operator
    operator/bin/pip install cloudcoil-models-prometheus-operator==0.80.1.0
    operator/bin/python tests/data/renew_service_monitor.py

The version is the operator's. Both are under the Apache License 2.0.
"""

import json
from pathlib import Path
from typing import Any

from cloudcoil.models.prometheus_operator.v1 import ServiceMonitor

SCHEMA = Path(__file__).with_name("kubernetes") / "service_monitor.json"


def strict(schema: Any) -> Any:
    """Return the schema without descriptions, and without properties that it does not name."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    result = {
        key: strict(schema[key]) for key in schema.keys() - {"description", "title", "default"}
    }
    if "properties" in schema:
        result["properties"] = {name: strict(kind) for name, kind in schema["properties"].items()}
        result.setdefault("additionalProperties", False)
    return result


if __name__ == "__main__":
    schema = strict(ServiceMonitor.model_json_schema(by_alias=True))
    SCHEMA.write_text(json.dumps(schema, indent=1, sort_keys=True) + "\n")
