"""The dashboard that the compose stack provisions."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from service.settings import Settings
from tests.conftest import ROOT
from tests.service.conftest import ARTIFACTS, serve

GRAFANA = ROOT / "deploy/grafana"
DASHBOARD = json.loads((GRAFANA / "dashboards/service.json").read_text())
EXPRESSIONS = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool")
def test_every_expression_is_valid_promql(tmp_path: Path) -> None:
    rules = [
        {"record": f"panel:{number}", "expr": expression.replace("$__rate_interval", "1m")}
        for number, expression in enumerate(EXPRESSIONS)
    ]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    subprocess.run(["promtool", "check", "rules", file], check=True, capture_output=True)


def test_service_exports_every_metric_of_the_dashboard_and_the_rules() -> None:
    rules = (ROOT / "deploy/prometheus/rules.yml").read_text()
    read = set(re.findall(r"(?<![\w:])(?:fashion_mnist|process)_\w+", f"{DASHBOARD} {rules}"))
    with serve(Settings(artifacts=ARTIFACTS)) as client:
        exposition = client.get("/metrics").text
    declared = re.findall(r"^# TYPE (\S+) (\S+)", exposition, re.MULTILINE)
    exported = {name for name, kind in declared if kind != "histogram"}
    for name, kind in declared:
        if kind == "histogram":
            exported |= {f"{name}_{part}" for part in ("bucket", "sum", "count")}
    assert len(read) > 10
    assert read <= exported


def test_model_version_panels_show_the_version_label() -> None:
    targets = [target for panel in DASHBOARD["panels"] for target in panel["targets"]]
    legends = [t["legendFormat"] for t in targets if "fashion_mnist_model_version" in t["expr"]]
    assert legends
    assert all("{{version}}" in legend for legend in legends)


def test_only_panels_by_route_include_the_probes() -> None:
    rules = (ROOT / "deploy/prometheus/rules.yml").read_text()
    [probes] = set(re.findall(r'route!~"[^"]+"', rules))
    for expression in EXPRESSIONS:
        selectors = re.findall(
            r"fashion_mnist_request(?:s_total|_seconds_bucket)(\{.+?\})", expression
        )
        assert all((probes in selector) != ("(route)" in expression) for selector in selectors)


def test_every_panel_has_a_title_and_a_description() -> None:
    for panel in DASHBOARD["panels"]:
        assert panel["title"]
        assert panel["description"].endswith(".")


def test_panels_do_not_overlap_and_fit_the_grid() -> None:
    taken: set[tuple[int, int]] = set()
    for place in (panel["gridPos"] for panel in DASHBOARD["panels"]):
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        taken |= cells
        assert place["x"] + place["w"] <= 24


def test_dashboard_uses_the_provisioned_data_source() -> None:
    provisioned = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text())
    used = set(re.findall(r'"uid": "(\w+)"', json.dumps(DASHBOARD["panels"])))
    assert used == {source["uid"] for source in provisioned["datasources"]}


def test_dashboard_is_mounted_at_the_provisioned_path() -> None:
    provider = yaml.safe_load((GRAFANA / "provisioning/dashboards/files.yml").read_text())
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    path = provider["providers"][0]["options"]["path"]
    assert f"./deploy/grafana/dashboards:{path}:ro" in compose["services"]["grafana"]["volumes"]
