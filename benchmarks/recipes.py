"""What each ingredient of the recipe contributes, and how much results vary over seeds.

    nice -n 19 python -m benchmarks.recipes ablation
    nice -n 19 python -m benchmarks.recipes compromises
    nice -n 19 python -m benchmarks.recipes seeds

`ablation` fits the whole recipe, and the recipe without each ingredient; `compromises` fits it with
other weights of the photographs and other numbers of epochs. Both measure on validation images and
validation photographs only, so that the test images influence no choice. `seeds` fits the recipe
with three seeds and measures each on the test images. `python -m training export --experiments
benchmarks/results/full` copies the results into the model card. Runs are kept below runs/ and
resume when interrupted; results are JSON files below benchmarks/results/full.
"""

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from training.config import FitSettings
from training.recipe import Recipe
from training.run import Run, kept_epoch

ROOT = Path(__file__).parent.parent
RUNS = ROOT / "runs"
RECIPE = "full"
RESULTS = ROOT / "benchmarks" / "results" / RECIPE
CONFIG = ROOT / "training" / "recipes" / f"{RECIPE}.toml"

SEEDS = 42, 43, 44
ABLATION = {
    "whole": [],
    "without photographs": ["--photographs.share=0"],
    "without photographs of no class": ["--photographs.without-class=0"],
    "without changes to photographs": [
        f"--photographs.augmentation.{name}=0"
        for name in ("rotate", "zoom", "shift", "brightness", "erase")
    ],
    "without the weights of version 2": ["--no-start.weights"],
    "without earlier answers": ["--start.answers=0"],
}
"""The settings that leave each ingredient out."""

COMPROMISES = {
    **{
        f"{weight:.0%} of the loss from photographs": [f"--photographs.weight={weight}"]
        for weight in (0.1, 0.3, 0.5, 0.7)
    },
    "2 epochs": ["--fit.epochs=2"],
    "10 epochs": ["--fit.epochs=10", "--fit.patience=10"],
}
"""Settings that trade accuracy on images for accuracy on photographs."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit what is missing, measure, print a table, write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("experiment", choices=["ablation", "compromises", "seeds"])
    experiment = parser.parse_args(arguments).experiment
    if experiment != "seeds":
        results = compare(experiment, ABLATION if experiment == "ablation" else COMPROMISES)
        for row in results["steps"]:
            print(row["name"], row["measures"])
    else:
        results = seeds()
        for name, row in results["measures"].items():
            print(f"{name:60}{row['mean']:.4f} ± {row['standard_deviation']:.4f}")
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{experiment}.json"
    path.write_text(json.dumps(results, indent=2) + "\n")


def compare(experiment: str, variants: dict[str, list[str]]) -> dict[str, Any]:
    """Fit and measure the recipe with the settings of each variant."""
    steps = []
    for number, (name, settings) in enumerate(tqdm(variants.items(), unit="run")):
        run_dir = RUNS / experiment / str(number)
        train("fit", run_dir, *settings)
        steps.append({"name": name, "measures": measure_on_validation(Run(run_dir))})
    fit = read_recipe().fit
    return {"recipe": RECIPE, "epochs": fit.epochs, "seed": fit.seed, "steps": steps}


def measure_on_validation(run: Run) -> dict[str, float]:
    """Measure a finished run without the test images."""
    # TensorFlow takes seconds to import; `--help` does not wait for it.
    import keras  # noqa: PLC0415

    from training.batches import predict  # noqa: PLC0415
    from training.data import to_inputs  # noqa: PLC0415
    from training.evaluate import score_photographs  # noqa: PLC0415
    from training.photographs import read_photographs  # noqa: PLC0415

    fit = run.read_about()[0].fit
    history = run.read_history()
    photographs = read_photographs("validation")
    model = keras.models.load_model(run.checkpoint(fit), compile=False)
    answers = predict(model, to_inputs(photographs.pixels))
    return {
        "validation accuracy": history[kept_epoch(history, fit)]["val_accuracy"],
        "photographs": score_photographs(answers, photographs)["macro_average"],
    }


def seeds() -> dict[str, Any]:
    """Fit and evaluate the recipe with each seed; return means and standard deviations."""
    scores = []
    for seed in tqdm(SEEDS, desc="seeds", unit="run"):
        run_dir = RUNS / "seeds" / str(seed)
        train("fit", run_dir, f"--fit.seed={seed}")
        train("evaluate", run_dir)
        scores.append(Run(run_dir).read_evaluation())
    measures = {
        "test accuracy": [row["test"]["accuracy"] for row in scores],
        "expected calibration error": [
            row["calibration"]["expected_calibration_error"] for row in scores
        ],
        "photographs, macro average": [row["photographs"]["macro_average"] for row in scores],
        "photographs, expected calibration error": [
            row["photographs"]["expected_calibration_error"] for row in scores
        ],
    }
    for name in scores[0]["novelty"]["outliers"]:
        measures[f"AUROC: {name}"] = [row["novelty"]["outliers"][name]["auroc"] for row in scores]
    return {
        "recipe": RECIPE,
        "seeds": list(SEEDS),
        "measures": {
            name: {
                "mean": statistics.mean(values),
                "standard_deviation": statistics.stdev(values),
                "values": values,
            }
            for name, values in measures.items()
        },
    }


def read_recipe() -> Recipe:
    """Read the recipe's file."""
    return FitSettings(config=CONFIG).recipe


def train(command: str, run_dir: Path, *settings: str) -> None:
    """Run a training command in a process of its own; its output goes to the run's log."""
    run_dir.mkdir(parents=True, exist_ok=True)
    options = [f"--run-dir={run_dir}", f"--config={CONFIG}", *settings]
    with (run_dir / "log.txt").open("a") as log:
        subprocess.run(
            [sys.executable, "-m", "training", command, *options],
            cwd=ROOT,
            stdout=log,
            stderr=log,
            check=True,
        )


if __name__ == "__main__":
    main()
