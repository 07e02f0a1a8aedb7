import httpx

from service.model.artifact import Artifact
from service.http.schemas import ModelSummary
from service.settings import EngineChoice
from tests.service.http.test_predict import error_of


def test_the_summary_describes_the_network_of_the_manifest(
    client: httpx.Client, engine_choice: EngineChoice, artifact: Artifact
) -> None:
    response = client.get("/model/summary")
    assert response.status_code == 200
    summary = ModelSummary.model_validate_json(response.content)
    assert summary.engine == engine_choice
    assert summary.parameters.total == 333_526
    assert [(layer.type, layer.output_shape, layer.parameters) for layer in summary.layers] == [
        ("Conv2D", (28, 28, 32), 320),
        ("MaxPooling2D", (14, 14, 32), 0),
        ("Conv2D", (14, 14, 64), 18_496),
        ("MaxPooling2D", (7, 7, 64), 0),
        ("Flatten", (3136,), 0),
        ("Dense", (100,), 313_700),
        ("Dropout", (100,), 0),
        ("Dense", (10,), 1_010),
    ]
    assert summary.layers[0].configuration["kernel_size"] == [3, 3]
    assert summary.input.shape == (28, 28, 1)
    assert summary.class_names[9] == "Ankle boot"
    assert summary.version == artifact.manifest.version
    assert 0.9 < summary.scores["test"]["accuracy"] < 1


def test_the_text_is_the_table_of_keras_in_80_columns(client: httpx.Client) -> None:
    response = client.get("/model/summary", headers={"Accept": "text/plain"})
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    lines = response.text.splitlines()
    assert max(map(len, lines)) == 80
    assert any("conv2d_1 (Conv2D)" in line and "320" in line for line in lines)
    assert any("Total params: 333,526" in line for line in lines)


def test_another_representation_is_a_406(client: httpx.Client) -> None:
    response = client.get("/model/summary", headers={"Accept": "image/png"})
    assert error_of(response, 406)[0] == "not_acceptable"
