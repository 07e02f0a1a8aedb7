"""Clients that openapi-python-client and openapi-typescript generate work, under readable names."""

import base64
import importlib
import io
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import DATA, ROOT

HERE = Path(__file__).parent
BOOT = DATA / "png" / "0000-ankle-boot.png"
PACKAGE = "fashion_mnist_client"


def run(command: Sequence[str | Path], folder: Path) -> list[str]:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def test_the_client_of_openapi_python_client(
    client: httpx.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = str(client.base_url).rstrip("/")
    generate = [sys.executable, "-m", "openapi_python_client", "generate", "--meta=none"]
    said = run([*generate, f"--url={url}/openapi.json", f"--output-path={PACKAGE}"], tmp_path)
    # It passes over media types that it does not know, and sends an image as bytes instead.
    unknown = [line for line in said if line.startswith(("Unsupported", "Cannot", "ERROR"))]
    assert all(line.startswith("Unsupported content type image/") for line in unknown)
    monkeypatch.syspath_prepend(str(tmp_path))

    def load(module: str) -> Any:
        return importlib.import_module(f"{PACKAGE}.{module}")

    models, types = load("models"), load("types")
    operations = {
        name: load(f"api.{name}")
        for name in (
            *("inference.predict", "inference.feature_maps", "model.model_summary"),
            *("open_inference_protocol.v2_inference", "tensor_flow_serving.v1_predict"),
        )
    }
    predict, feature_maps, model_summary, v2_inference, v1_predict = operations.values()
    with load("client").Client(base_url=url) as service:

        def image() -> Any:
            return types.File(io.BytesIO(BOOT.read_bytes()), "boot.png", "image/png")

        b64 = base64.b64encode(BOOT.read_bytes()).decode()
        instances = models.Instances([models.Image(b64)])
        for body in (image(), models.Form([image()]), instances):
            [prediction] = predict.sync(client=service, body=body, top_k=2).predictions
            assert prediction.label == "Ankle boot"
            assert [one.label for one in prediction.top_k] == ["Ankle boot", "Sneaker"]
        maps = feature_maps.sync(client=service, body=instances, layer=["conv2d_1"])
        assert maps.layers[0].name == "conv2d_1"
        # It reads one media type an answer, so a drawing is taken from its httpx client.
        png = models.FeatureMapsFormat.PNG
        request = feature_maps._get_kwargs(body=instances, format_=png)
        drawn = service.get_httpx_client().request(**request)
        assert drawn.content.startswith(b"\x89PNG")
        assert model_summary.sync(client=service).layers[0].name == "conv2d_1"
        refused = predict.sync(client=service, body=instances, top_k=0)
        assert refused.error.code == "invalid_parameter"

        tensor = models.InferenceTensor.from_dict(
            {"name": "image", "shape": [1], "datatype": "BYTES", "data": [b64]}
        )
        wanted = models.InferenceRequestOutputsItem.from_dict({"name": "label"})
        body = models.InferenceRequest(inputs=[tensor], outputs=[wanted])
        inferred = v2_inference.sync("fashion_mnist", client=service, body=body)
        assert inferred.outputs[0].to_dict()["data"] == ["Ankle boot"]
        signature = models.SignatureRequest.from_dict({"instances": [{"b64": b64}]})
        answer = v1_predict.sync("fashion_mnist", client=service, body=signature)
        assert len(answer.to_dict()["predictions"][0]) == 10


def test_the_client_of_openapi_typescript(client: httpx.Client, tmp_path: Path) -> None:
    if not (HERE / "node_modules").exists():
        pytest.skip("its packages are not installed: make node_modules")
    url = str(client.base_url).rstrip("/")
    tools = HERE / "node_modules" / ".bin"
    (tmp_path / "node_modules").symlink_to(ROOT / "node_modules")
    (tmp_path / "generated.ts").write_text((HERE / "generated.ts").read_text())
    (tmp_path / "package.json").write_text(json.dumps({"type": "module"}))
    run([tools / "openapi-typescript", f"{url}/openapi.json", "-o", "service.d.ts"], tmp_path)
    strict = ("--strict", "--noUncheckedIndexedAccess", "--skipLibCheck")
    target = ("--target", "ES2023", "--module", "nodenext", "generated.ts")
    run([tools / "tsc", *strict, *target], tmp_path)
    assert run(["node", "generated.js", url, BOOT], tmp_path) == [
        *("Ankle boot 2", "32", "PNG", "conv2d_1", "[ 'Ankle boot' ]", "true", "invalid_parameter")
    ]
