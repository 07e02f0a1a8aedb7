import threading
from pathlib import Path

import httpx
import pytest

from service.model import repository as repository_module
from service.model.classifier import Classifier, load_classifier
from service.settings import EngineChoice, Settings
from tests.service.http.test_predict import error_of
from tests.service.conftest import ARTIFACTS, DEFAULT_VERSION, serve, wait_until_ready


def test_a_live_and_ready_process_says_so(
    client: httpx.Client, engine_choice: EngineChoice
) -> None:
    assert client.get("/livez").json() == {"status": "live", "worker": 0}
    assert client.get("/readyz").json() == {
        "status": "ready",
        "worker": 0,
        "model": {"name": "fashion_mnist", "version": int(DEFAULT_VERSION)},
        "engine": engine_choice,
    }


@pytest.mark.parametrize("path", ["/readyz", "/model/summary"])
def test_until_the_model_is_loaded_it_is_live_and_not_ready(
    monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    may_load = threading.Event()

    def load_when_told(directory: Path, engine: EngineChoice) -> Classifier:
        may_load.wait(timeout=30)
        return load_classifier(directory, engine)

    monkeypatch.setattr(repository_module, "load_classifier", load_when_told)
    with serve(Settings(artifacts=ARTIFACTS, engine="litert"), wait=False) as client:
        try:
            assert client.get("/livez").status_code == 200
            response = client.get(path)
            assert error_of(response, 503)[0] == "not_ready"
            assert response.headers["Retry-After"] == "1"
            response = client.post("/predict", content=b"x")
            assert error_of(response, 503)[0] == "not_ready"
        finally:
            may_load.set()
        wait_until_ready(client)
        assert client.get(path).status_code == 200
