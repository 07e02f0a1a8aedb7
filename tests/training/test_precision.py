from pathlib import Path

import keras
import numpy as np
import pytest

from tests.training.conftest import TINY_DATA, TINY_NETWORK
from training import precision
from training.__main__ import main
from training.architecture import build_network
from training.precision import dtype_policy
from training.recipe import Network
from training.run import Run


@pytest.fixture
def processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What Linux says of a processor that computes in bfloat16."""
    description = tmp_path / "cpuinfo"
    description.write_text("processor\t: 0\nflags\t\t: fpu avx512f avx512_bf16 amx_tile\n")
    monkeypatch.setattr(precision, "CPU_DESCRIPTION", description)
    return description


def test_bfloat16_is_taken_only_where_it_is_asked_for_and_the_processor_has_it(
    processor: Path,
) -> None:
    assert dtype_policy(mixed_precision=True) == "mixed_bfloat16"
    assert dtype_policy(mixed_precision=False) == "float32"
    processor.write_text("flags\t\t: fpu avx2 avx512f\n")
    assert dtype_policy(mixed_precision=True) == "float32"
    processor.unlink()
    assert dtype_policy(mixed_precision=True) == "float32"


def test_weights_and_probabilities_are_float32_whatever_is_computed_in() -> None:
    model = build_network(Network(), "mixed_bfloat16")
    assert {weight.dtype for weight in model.trainable_weights} == {"float32"}
    assert [layer.compute_dtype for layer in model.layers] == ["bfloat16"] * 7 + ["float32"]
    assert model.outputs[0].dtype == "float32"


@pytest.mark.usefixtures("processor", "unsaved_pictures")
def test_a_run_in_bfloat16_is_evaluated_in_float32(tmp_path: Path) -> None:
    run_dir = f"--run-dir={tmp_path / 'run'}"
    options = ["--fit.epochs=1", "--fit.mixed-precision"]
    assert main(["fit", run_dir, *TINY_DATA, *TINY_NETWORK, *options]) == 0
    assert main(["evaluate", run_dir, *TINY_DATA]) == 0
    run = Run(tmp_path / "run")
    trained, evaluated = (
        keras.models.load_model(path, compile=False) for path in (run.checkpoint, run.model)
    )
    assert trained.layers[0].compute_dtype == "bfloat16"
    assert {layer.compute_dtype for layer in evaluated.layers} == {"float32"}
    for before, after in zip(trained.get_weights(), evaluated.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
