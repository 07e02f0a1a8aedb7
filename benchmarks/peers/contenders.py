"""The contenders: how each is started, and the requests it takes."""

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers.environments import interpreter
from benchmarks.request_path import bodies

APPS = Path(__file__).parent / "apps"
SERVICE = "the service"
SCRIPT = "20-line script, LiteRT"


@dataclass(frozen=True, slots=True)
class Request:
    """One request, sent repeatedly."""

    path: str
    media_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Contender:
    """A server that can be started.

    Attributes:
        name: For display.
        environment: Its environment, one of `environments`.
        command: Returns the start command for the Python of that environment and a port.
        requests: By form: `PNG` is one image file, `JSON` the numbers of one image.
    """

    name: str
    environment: str
    command: Callable[[str, int], list[str]]
    requests: Mapping[str, Request]

    def arguments(self, port: int) -> list[str]:
        """Return the command that starts it at `port` of loopback."""
        return self.command(interpreter(self.environment), port)


def contenders() -> list[Contender]:
    """Return all contenders, the service and its baseline first."""
    return [
        Contender(SERVICE, "service", _service(), _predict_requests()),
        Contender(SCRIPT, "service", _uvicorn("plain_script"), _predict_requests()),
        Contender(f"{SERVICE}, 2 workers", "service", _service("--workers=2"), _predict_requests()),
        Contender(
            f"{SCRIPT}, 2 workers",
            "service",
            _uvicorn("plain_script", "--workers=2"),
            _predict_requests(),
        ),
        Contender("MLServer", "mlserver", _app("mlserver_app"), _open_inference()),
        Contender("LitServe", "litserve", _app("litserve_app"), _json_requests()),
        Contender("BentoML", "bentoml", _bentoml, _json_requests("document")),
        Contender("Ray Serve", "ray", _app("ray_app"), _predict_requests()),
        Contender("Triton (PyTriton)", "triton", _app("pytriton_app"), _numbers_for_triton()),
        Contender(
            "FastAPI + model.predict", "service", _uvicorn("keras_predict"), _predict_requests()
        ),
    ]


def batch(images: int) -> Request:
    """Return a request with that many images as JSON numbers, for the service and the script."""
    document = json.loads(bodies()["JSON"][0])
    content = json.dumps({"instances": document["instances"] * images}).encode()
    return Request("/predict", "application/json", content)


def protocols() -> dict[str, Request]:
    """Return a request with one image for each HTTP protocol of the service."""
    native, v2 = _predict_requests(), _open_inference()
    _, [numbers] = _contents()
    instance = [[number / 255 for number in row] for row in numbers]
    body = json.dumps({"instances": [instance]}).encode()
    return {
        "native API, PNG": native["PNG"],
        "native API, JSON": native["JSON"],
        "V2, PNG": v2["PNG"],
        "V2, JSON": v2["JSON"],
        "TensorFlow Serving, JSON": Request(
            "/v1/models/fashion_mnist:predict", "application/json", body
        ),
    }


def _predict_requests() -> dict[str, Request]:
    return {
        form: Request("/predict", media_type, body) for form, (body, media_type) in bodies().items()
    }


def _json_requests(argument: str | None = None) -> dict[str, Request]:
    """For servers whose handlers receive parsed JSON: the image in base64."""
    png, numbers = _contents()
    requests = {}
    for form, document in (("PNG", {"png": png}), ("JSON", {"instances": numbers})):
        content = {argument: document} if argument else document
        body = json.dumps(content).encode()
        requests[form] = Request("/predict", "application/json", body)
    return requests


def _open_inference() -> dict[str, Request]:
    png, numbers = _contents()
    flat = [number for row in numbers[0] for number in row]
    return {
        "PNG": _infer({"name": "image", "shape": [1], "datatype": "BYTES", "data": [png]}),
        "JSON": _infer({"name": "images", "shape": [1, 784], "datatype": "UINT8", "data": flat}),
    }


def _numbers_for_triton() -> dict[str, Request]:
    """Triton itself decodes no images."""
    return {"JSON": _open_inference()["JSON"]}


def _infer(tensor: dict[str, object]) -> Request:
    body = json.dumps({"inputs": [tensor]}).encode()
    return Request("/v2/models/fashion_mnist/infer", "application/json", body)


def _contents() -> tuple[str, list[list[list[int]]]]:
    """Return the image in base64, and as numbers in a batch of one, (1, 28, 28)."""
    forms = bodies()
    png = base64.b64encode(forms["PNG"][0]).decode()
    return png, json.loads(forms["JSON"][0])["instances"]


def _service(*options: str) -> Callable[[str, int], list[str]]:
    # Everything is on except the access log, which the others do not write either.
    fixed = ["-m", "service", "--log-level=warning"]
    return lambda python, port: [python, *fixed, f"--port={port}", *options]


def _uvicorn(app: str, *options: str) -> Callable[[str, int], list[str]]:
    fixed = ["-m", "uvicorn", f"benchmarks.peers.apps.{app}:app", "--log-level=warning"]
    return lambda python, port: [python, *fixed, f"--port={port}", *options]


def _app(name: str) -> Callable[[str, int], list[str]]:
    return lambda python, port: [python, str(APPS / f"{name}.py"), str(port)]


def _bentoml(python: str, port: int) -> list[str]:
    serve = ["-m", "bentoml", "serve", "bentoml_app:FashionMnist", f"--working-dir={APPS}"]
    return [python, *serve, "--host=127.0.0.1", f"--port={port}"]
