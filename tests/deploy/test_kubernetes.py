"""deploy/kubernetes against the schemas of the API server, KServe and the Prometheus operator."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import kubernetes_validate
import pytest
import yaml

from service.settings import ENVIRONMENT_PREFIX, Settings
from tests.conftest import DATA, ROOT
from tests.service.conftest import ARTIFACTS, serve

MANIFESTS = ROOT / "deploy/kubernetes"
OLDEST, NEWEST = "1.30", kubernetes_validate.latest_version()
"""Pods can sleep before they stop, without a shell, from 1.30 on."""

Resource = dict[str, Any]


def resources_in(folder: str) -> dict[str, Resource]:
    """Return the resources of a kustomization's own files, by kind."""
    kustomization = yaml.safe_load((MANIFESTS / folder / "kustomization.yaml").read_text())
    files = [name for name in kustomization["resources"] if name.endswith(".yaml")]
    resources = [yaml.safe_load((MANIFESTS / folder / name).read_text()) for name in files]
    return {resource["kind"]: resource for resource in resources}


BASE = resources_in("base")
POD = BASE["Deployment"]["spec"]["template"]["spec"]
[CONTAINER] = POD["containers"]
INFERENCE_SERVICE = resources_in("kserve")["InferenceService"]
SERVICE_MONITOR = resources_in("monitoring")["ServiceMonitor"]
SERVICE_MONITOR_SCHEMA = json.loads((DATA / "kubernetes/service_monitor.json").read_text())


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("kind", BASE)
def test_a_resource_follows_the_schema_of_the_api_server(kind: str, version: str) -> None:
    kubernetes_validate.validate(BASE[kind], version, strict=True)


def test_the_inference_service_is_one_as_kserve_defines_it() -> None:
    check(INFERENCE_SERVICE)


def test_a_misspelt_field_of_an_inference_service_is_noticed() -> None:
    predictor = INFERENCE_SERVICE["spec"]["predictor"]
    wrong = {"spec": {"predictor": {**predictor, "containers": [{"name": "c", "imagee": "i"}]}}}
    assert unknown_fields(wrong) == ["imagee"]


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_the_pods_of_the_inference_service_are_what_the_api_server_takes(version: str) -> None:
    scaling = {"minReplicas", "maxReplicas", "scaleMetric", "scaleTarget"}
    predictor = INFERENCE_SERVICE["spec"]["predictor"]
    spec = {name: predictor[name] for name in predictor.keys() - scaling}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "predictor"}, "spec": spec}
    kubernetes_validate.validate(pod, version, strict=True)


def test_the_service_monitor_is_one_as_the_prometheus_operator_defines_it() -> None:
    check(SERVICE_MONITOR)


@pytest.mark.parametrize(
    "wrong", [{"intervall": "15s"}, {"interval": "15 seconds"}, {"port": 80}, {"scheme": "ftp"}]
)
def test_what_is_wrong_with_an_endpoint_of_a_service_monitor_is_noticed(wrong: Resource) -> None:
    [endpoint] = SERVICE_MONITOR["spec"]["endpoints"]
    spec = {**SERVICE_MONITOR["spec"], "endpoints": [{**endpoint, **wrong}]}
    with pytest.raises(jsonschema.ValidationError):
        check({**SERVICE_MONITOR, "spec": spec})


def check(resource: Resource) -> None:
    """Hold a resource against the schema of whoever defines it."""
    match resource["apiVersion"].split("/")[0]:
        case "serving.kserve.io":
            assert unknown_fields(resource) == []
        case "monitoring.coreos.com":
            jsonschema.validate(resource, SERVICE_MONITOR_SCHEMA)
        case _:
            kubernetes_validate.validate(resource, NEWEST, strict=True)


def unknown_fields(resource: Resource) -> list[str]:
    """Return what KServe's client has no place for, or holds to be of another type."""
    ended = subprocess.run(
        [sys.executable, "-m", "tests.deploy.kserve_fields"],
        cwd=ROOT,
        input=json.dumps(resource),
        capture_output=True,
        text=True,
        check=True,
    )
    found: list[str] = json.loads(ended.stdout.splitlines()[-1])
    return found


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl")
@pytest.mark.parametrize("folder", ["base", "monitoring", "kserve", "overlay"])
def test_kustomize_puts_it_together(folder: str, tmp_path: Path) -> None:
    target = MANIFESTS / folder
    if folder == "overlay":
        shutil.copytree(MANIFESTS, tmp_path / "kubernetes")
        target = tmp_path / "kubernetes" / folder
        target.mkdir()
        overlay = {"resources": ["../base"], "components": ["../model-store"]}
        (target / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    command = ["kubectl", "kustomize", str(target)]
    rendered = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    resources = list(yaml.safe_load_all(rendered))
    assert resources
    for resource in resources:
        check(resource)
    assert "image: fashion-mnist-service:" in rendered
    if folder == "overlay":
        assert "s3://models/fashion_mnist" in rendered


def test_every_probe_is_a_route_that_answers_and_a_liveness_probe_does_not_ask_for_a_model() -> (
    None
):
    [predictor] = INFERENCE_SERVICE["spec"]["predictor"]["containers"]
    with serve(Settings(artifacts=ARTIFACTS)) as client:
        for container in (CONTAINER, predictor):
            for name in ("startupProbe", "readinessProbe", "livenessProbe"):
                if name in container:
                    assert answer(client, container[name]) == 200
        client.post("/v2/repository/models/fashion_mnist/unload").raise_for_status()
        for container in (CONTAINER, predictor):
            assert answer(client, container["readinessProbe"]) == 503
            assert answer(client, container["livenessProbe"]) == 200


def answer(client: httpx.Client, probe: dict[str, Any]) -> int:
    return client.get(probe["httpGet"]["path"]).status_code


def test_the_containers_settings_are_settings() -> None:
    for variable in CONTAINER["env"]:
        name = variable["name"].removeprefix(ENVIRONMENT_PREFIX).lower()
        Settings.model_validate({name: variable["value"]})


@pytest.mark.parametrize(
    "pod", [POD, INFERENCE_SERVICE["spec"]["predictor"]], ids=["plain", "kserve"]
)
def test_requests_stop_before_the_pod_and_accepted_ones_have_time_to_finish(pod: Resource) -> None:
    [container] = pod["containers"]
    pause = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] > pause + Settings().drain_seconds


def test_every_selector_finds_the_pods() -> None:
    labels = BASE["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert BASE["Service"]["spec"]["selector"].items() <= labels.items()
    for selector in (
        BASE["Deployment"]["spec"]["selector"],
        BASE["PodDisruptionBudget"]["spec"]["selector"],
        BASE["NetworkPolicy"]["spec"]["podSelector"],
        *(constraint["labelSelector"] for constraint in POD["topologySpreadConstraints"]),
    ):
        assert selector["matchLabels"].items() <= labels.items()


def test_prometheus_scrapes_the_port_of_the_service_that_requests_come_in_by() -> None:
    monitor = SERVICE_MONITOR["spec"]
    [endpoint] = monitor["endpoints"]
    assert endpoint["port"] in [port["name"] for port in BASE["Service"]["spec"]["ports"]]
    [labels] = yaml.safe_load((MANIFESTS / "base/kustomization.yaml").read_text())["labels"]
    assert monitor["selector"]["matchLabels"] == labels["pairs"]


def test_the_alert_for_a_replica_that_is_down_reads_the_job_that_the_monitor_sets() -> None:
    [endpoint] = SERVICE_MONITOR["spec"]["endpoints"]
    [rule] = endpoint["relabelings"]
    assert rule["targetLabel"] == "job"
    assert (
        f'up{{job="{rule["replacement"]}"}} == 0'
        in (ROOT / "deploy/prometheus/rules.yml").read_text()
    )


def test_the_autoscaler_and_its_adapter_mean_the_same_metric() -> None:
    metrics = BASE["HorizontalPodAutoscaler"]["spec"]["metrics"]
    [name] = [metric["pods"]["metric"]["name"] for metric in metrics if metric["type"] == "Pods"]
    adapter = yaml.safe_load((MANIFESTS / "monitoring/prometheus-adapter.yaml").read_text())
    assert adapter["rules"]["custom"][0]["seriesQuery"].startswith(f"{name}{{")
