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
"""The first version in which a preStop hook can sleep without a shell is 1.30."""

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
def test_resource_matches_the_schema_of_the_api_server(kind: str, version: str) -> None:
    kubernetes_validate.validate(BASE[kind], version, strict=True)


def test_inference_service_matches_the_model_of_kserve() -> None:
    validate(INFERENCE_SERVICE)


def test_misspelt_field_of_an_inference_service_is_detected() -> None:
    predictor = INFERENCE_SERVICE["spec"]["predictor"]
    wrong = {"spec": {"predictor": {**predictor, "containers": [{"name": "c", "imagee": "i"}]}}}
    assert unknown_fields(wrong) == ["imagee"]


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_predictor_pods_match_the_schema_of_the_api_server(version: str) -> None:
    scaling = {"minReplicas", "maxReplicas", "scaleMetric", "scaleTarget"}
    predictor = INFERENCE_SERVICE["spec"]["predictor"]
    spec = {name: predictor[name] for name in predictor.keys() - scaling}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "predictor"}, "spec": spec}
    kubernetes_validate.validate(pod, version, strict=True)


def test_service_monitor_matches_the_schema_of_the_prometheus_operator() -> None:
    validate(SERVICE_MONITOR)


@pytest.mark.parametrize(
    "wrong", [{"intervall": "15s"}, {"interval": "15 seconds"}, {"port": 80}, {"scheme": "ftp"}]
)
def test_invalid_endpoint_of_a_service_monitor_is_detected(wrong: Resource) -> None:
    [endpoint] = SERVICE_MONITOR["spec"]["endpoints"]
    spec = {**SERVICE_MONITOR["spec"], "endpoints": [{**endpoint, **wrong}]}
    with pytest.raises(jsonschema.ValidationError):
        validate({**SERVICE_MONITOR, "spec": spec})


def validate(resource: Resource) -> None:
    """Validate a resource against the schema of its API group."""
    match resource["apiVersion"].split("/")[0]:
        case "serving.kserve.io":
            assert unknown_fields(resource) == []
        case "monitoring.coreos.com":
            jsonschema.validate(resource, SERVICE_MONITOR_SCHEMA)
        case _:
            kubernetes_validate.validate(resource, NEWEST, strict=True)


def unknown_fields(resource: Resource) -> list[str]:
    """Return the fields that KServe's client does not know or whose type it rejects."""
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
def test_kustomize_renders_valid_resources(folder: str, tmp_path: Path) -> None:
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
        validate(resource)
    assert "image: fashion-mnist-service:" in rendered
    if folder == "overlay":
        assert "s3://models/fashion_mnist" in rendered


def test_probes_pass_and_liveness_does_not_depend_on_a_model() -> None:
    [predictor] = INFERENCE_SERVICE["spec"]["predictor"]["containers"]
    with serve(Settings(artifacts=ARTIFACTS)) as client:
        for container in (CONTAINER, predictor):
            for name in ("startupProbe", "readinessProbe", "livenessProbe"):
                if name in container:
                    assert probe_status(client, container[name]) == 200
        client.post("/v2/repository/models/fashion_mnist/unload").raise_for_status()
        for container in (CONTAINER, predictor):
            assert probe_status(client, container["readinessProbe"]) == 503
            assert probe_status(client, container["livenessProbe"]) == 200


def probe_status(client: httpx.Client, probe: dict[str, Any]) -> int:
    return client.get(probe["httpGet"]["path"]).status_code


def test_container_environment_holds_valid_settings() -> None:
    for variable in CONTAINER["env"]:
        name = variable["name"].removeprefix(ENVIRONMENT_PREFIX).lower()
        Settings.model_validate({name: variable["value"]})


@pytest.mark.parametrize(
    "pod", [POD, INFERENCE_SERVICE["spec"]["predictor"]], ids=["plain", "kserve"]
)
def test_grace_period_exceeds_the_pre_stop_sleep_and_the_drain(pod: Resource) -> None:
    [container] = pod["containers"]
    pause = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] > pause + Settings().drain_seconds


def test_every_selector_matches_the_labels_of_the_pods() -> None:
    labels = BASE["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert BASE["Service"]["spec"]["selector"].items() <= labels.items()
    for selector in (
        BASE["Deployment"]["spec"]["selector"],
        BASE["PodDisruptionBudget"]["spec"]["selector"],
        BASE["NetworkPolicy"]["spec"]["podSelector"],
        *(constraint["labelSelector"] for constraint in POD["topologySpreadConstraints"]),
    ):
        assert selector["matchLabels"].items() <= labels.items()


def test_service_monitor_selects_a_port_and_the_labels_of_the_service() -> None:
    monitor = SERVICE_MONITOR["spec"]
    [endpoint] = monitor["endpoints"]
    assert endpoint["port"] in [port["name"] for port in BASE["Service"]["spec"]["ports"]]
    [labels] = yaml.safe_load((MANIFESTS / "base/kustomization.yaml").read_text())["labels"]
    assert monitor["selector"]["matchLabels"] == labels["pairs"]


def test_alert_for_a_down_replica_uses_the_job_of_the_service_monitor() -> None:
    [endpoint] = SERVICE_MONITOR["spec"]["endpoints"]
    [rule] = endpoint["relabelings"]
    assert rule["targetLabel"] == "job"
    assert (
        f'up{{job="{rule["replacement"]}"}} == 0'
        in (ROOT / "deploy/prometheus/rules.yml").read_text()
    )


def test_autoscaler_and_prometheus_adapter_use_the_same_metric() -> None:
    metrics = BASE["HorizontalPodAutoscaler"]["spec"]["metrics"]
    [name] = [metric["pods"]["metric"]["name"] for metric in metrics if metric["type"] == "Pods"]
    adapter = yaml.safe_load((MANIFESTS / "monitoring/prometheus-adapter.yaml").read_text())
    assert adapter["rules"]["custom"][0]["seriesQuery"].startswith(f"{name}{{")
