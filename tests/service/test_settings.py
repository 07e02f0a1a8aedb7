from pathlib import Path

import pytest
from pydantic import ValidationError

from service.cli import read_settings
from service.settings import PACKAGED_ARTIFACTS, Settings


def test_the_defaults_are_reached_from_this_machine_only() -> None:
    settings = Settings()
    assert (settings.host, settings.port, settings.workers) == ("127.0.0.1", 8000, 1)
    assert settings.artifacts == Path("artifacts/fashion_mnist")


def test_away_from_a_model_directory_the_default_is_the_model_of_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("service.settings.PACKAGED_ARTIFACTS", tmp_path)  # A wheel has it.
    assert Settings().artifacts == tmp_path
    (tmp_path / "artifacts" / "fashion_mnist").mkdir(parents=True)
    assert Settings().artifacts == Path("artifacts/fashion_mnist")


def test_a_checkout_has_the_shipped_model_once() -> None:
    assert not PACKAGED_ARTIFACTS.exists()


def test_the_environment_sets_what_the_command_line_leaves_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FASHION_PORT", "9000")
    monkeypatch.setenv("FASHION_ENGINE", "litert")
    settings = read_settings(["--port", "9001"])
    assert settings.port == 9001
    assert settings.engine == "litert"


@pytest.mark.parametrize("field", sorted(Settings.model_fields))
def test_every_setting_says_what_it_does(field: str) -> None:
    assert Settings.model_fields[field].description


@pytest.mark.parametrize(
    "values", [{"port": 0}, {"workers": 0}, {"engine": "onnx"}, {"max_pixels": 0}, {"colour": 1}]
)
def test_a_value_that_makes_no_sense_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate(values)
