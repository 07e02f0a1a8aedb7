import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from training.__main__ import EXIT_USAGE, main
from training.config import (
    ConfigurationError,
    ExportSettings,
    FitSettings,
    read_settings,
)
from training.recipe import Network

RECIPES = sorted((Path(__file__).parents[2] / "training" / "recipes").glob("*.toml"))
THREE_BLOCKS = '[{}, {"kernel_size": 5}, {"kernel_size": 9, "padding": "valid"}]'


def fit_settings(*arguments: str) -> FitSettings:
    settings = read_settings(["fit", *arguments])
    assert isinstance(settings, FitSettings)
    return settings


def test_defaults_are_the_documented_values() -> None:
    settings = fit_settings()
    filters = [(block.filters, block.kernel_size) for block in settings.network.blocks]
    assert filters == [(32, 3), (64, 3)]
    assert (settings.network.dense_units, settings.network.dropout) == (100, 0.4)
    assert (settings.fit.batch_size, settings.fit.epochs, settings.fit.patience) == (32, 20, 2)
    assert (settings.fit.seed, settings.fit.validation_fraction) == (42, 0.2)
    assert (settings.fit.learning_rate, settings.fit.stratify) == (0.001, False)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_trains_the_default_network(path: Path) -> None:
    recipe = fit_settings("--config", str(path)).recipe
    # The dropout rate may differ: it only affects training.
    assert recipe.network.model_copy(update={"dropout": 0.4}) == Network()
    assert bool(recipe.photographs.share) == (path.stem == "full")


def test_command_line_beats_environment_beats_file_beats_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "training.toml"
    file.write_text("[fit]\nepochs = 5\npatience = 5\nseed = 5\n[[network.blocks]]\nfilters = 5\n")
    monkeypatch.setenv("FASHION_TRAINING_FIT__PATIENCE", "6")
    monkeypatch.setenv("FASHION_TRAINING_FIT__SEED", "6")
    settings = fit_settings("--config", str(file), "--fit.seed", "7")
    assert (settings.fit.seed, settings.fit.patience, settings.fit.epochs) == (7, 6, 5)
    assert settings.fit.batch_size == 32
    assert [block.filters for block in settings.network.blocks] == [5]


def test_one_configuration_file_works_for_every_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "training.toml"
    file.write_text('run_dir = "here"\nartifacts = "there"\nfresh = true\n[fit]\nepochs = 5\n')
    monkeypatch.setenv("FASHION_TRAINING_CONFIG", str(file))
    assert fit_settings().fresh
    assert read_settings(["evaluate"]).run_dir == Path("here")
    export = read_settings(["export"])
    assert isinstance(export, ExportSettings)
    assert export.artifacts == Path("there")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--fit.epoch=3"], "--fit.epoch=3 (did you mean --fit.epochs?)"),
        (
            ["--photographs.augmentation.rotat", "5"],
            "--photographs.augmentation.rotat 5 (did you mean --photographs.augmentation.rotate?)",
        ),
        (["--fit.epochs=many"], "fit.epochs: Input should be a valid integer"),
        (["--fit.epochs=0"], "fit.epochs"),
        (["--fit.learning-rate=inf"], "fit.learning_rate"),
        (["--fit.validation-fraction=1"], "fit.validation_fraction"),
        (["--network.dropout=1"], "network.dropout"),
        (["--network.blocks=[]"], "network.blocks"),
        (["--network.blocks=[{"], "network.blocks"),
        (
            ['--network.blocks=[{"filter": 3}]'],
            "network.blocks.0.filter: unknown setting (did you mean filters?)",
        ),
        (
            ['--network.blocks=[{"dropout": 0.5}]'],
            "network.blocks.0.dropout: unknown setting (did you mean network.dropout?)",
        ),
        (['--network.blocks=[{"kernel_size": [3, 0]}]'], "network.blocks.0.kernel_size"),
        (["--network.dense-activation=rely"], "network.dense_activation"),
        (["--config=no-such.toml"], "no-such.toml cannot be read as TOML"),
    ],
)
def test_invalid_setting_is_reported_by_name_in_one_line(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", *arguments]) == EXIT_USAGE
    captured = capsys.readouterr()
    assert complaint in captured.err
    assert captured.err.count("\n") == 1
    assert not captured.out


@pytest.mark.parametrize("content", ["[ft]\nepochs = 1", "epochs = 1", "[fit\n", "\xff"])
def test_file_with_an_unknown_key_or_invalid_toml_is_rejected(tmp_path: Path, content: str) -> None:
    file = tmp_path / "training.toml"
    file.write_bytes(content.encode("latin-1"))
    with pytest.raises(ConfigurationError, match=r"training\.toml"):
        fit_settings("--config", str(file))


def test_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    file = tmp_path / "training.toml"
    file.write_text("\ufeff[fit]\nepochs = 7\n", encoding="utf-8")
    assert fit_settings("--config", str(file)).fit.epochs == 7


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("FIT__EPOCH", r"fit.epoch: unknown setting \(did you mean epochs\?\)"),
        ("NETWORK__FILTERS", r"\(did you mean network\.blocks\.filters\?\)"),
        ("FITS__EPOCHS", r"setting: fits \(did you mean fit\?\)"),
        ("RUNDIR", r"setting: rundir \(did you mean run_dir\?\)"),
    ],
)
def test_unknown_environment_variable_is_rejected_with_a_suggestion(
    name: str, complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"FASHION_TRAINING_{name}", "1")
    with pytest.raises(ConfigurationError, match=complaint):
        fit_settings()


@pytest.mark.parametrize(
    ("blocks", "calculation"),
    [
        (
            THREE_BLOCKS,
            "block 2: max pooling 2 valid, stride 2: floor((14-2)/2)+1 = 7; "
            "block 3: conv 9 valid, stride 1: floor((7-9)/1)+1 = -1",
        ),
        (
            '[{"strides": 5, "pooling": "average", "pool_size": 7}]',
            "block 1: conv 3 same, stride 5: ceil(28/5) = 6; "
            "block 1: average pooling 7 valid, stride 7: floor((6-7)/7)+1 = 0",
        ),
    ],
)
def test_maps_that_shrink_to_nothing_are_rejected_with_the_calculation(
    blocks: str, calculation: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        fit_settings("--network.blocks", blocks)
    assert str(caught.value).endswith(calculation)


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["fit", "--network.blocks", THREE_BLOCKS], EXIT_USAGE),
        (["--help"], 0),
        (["fit", "--help"], 0),
    ],
)
def test_help_and_usage_errors_import_neither_tensorflow_nor_numpy(
    arguments: list[str], status: int
) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "training", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status
    imported = {line.split("|")[-1].strip() for line in done.stderr.splitlines()}
    assert "pydantic" in imported
    assert not imported & {"tensorflow", "keras", "numpy", "sklearn"}
    assert "Traceback" not in done.stderr


def test_invalid_blocks_give_one_error_per_setting(
    capsys: pytest.CaptureFixture[str],
) -> None:
    blocks = '[{"filters": 0, "kernel_size": "x"}, {"pool_size": 1.5}]'
    assert main(["fit", f"--network.blocks={blocks}"]) == EXIT_USAGE
    message = capsys.readouterr().err.strip().removeprefix("python -m training fit: ")
    names = [clause.split(":")[0] for clause in message.split("; ")]
    assert names == [
        "network.blocks.0.filters",
        "network.blocks.0.kernel_size",
        "network.blocks.1.pool_size",
    ]


def test_next_command_repeats_the_run_and_data_settings() -> None:
    settings = fit_settings(
        "--run-dir=my run", "--data-dir=d", "--allow-other-data", '--classes=["a","b c"]'
    )
    command = settings.next_command("export")
    assert command.startswith("python -m training export --run-dir 'my run' --data-dir d ")
    again = read_settings(shlex.split(command)[3:])
    for name in ("run_dir", "data_dir", "allow_other_data", "classes"):
        assert getattr(again, name) == getattr(settings, name)


def test_help_lists_settings_with_description_and_default(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["fit", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for option in ("--fit.epochs", "--network.blocks", "--data-dir", "--fresh"):
        assert option in text
    assert "Epochs without a lower validation loss before training stops. (default: 2)" in text
