"""What each ingredient of the recipe gives, and how much chance there is in it.

    nice -n 19 python -m benchmarks.recipes ablation [--recipe NAME]
    nice -n 19 python -m benchmarks.recipes seeds [--recipe NAME] [--photographs FILE]
    nice -n 19 python -m benchmarks.recipes shares [--recipe NAME]

NAME is a file of training/recipes, `full` if none is given. `ablation` adds the ingredients of the
recipe one after the other, for a few epochs each, and compares them on the validation images alone:
the test images make no choice. `seeds` fits the recipe whole with three seeds and measures each on
the test images. The first two go into the model card, by `python -m training export --experiments
benchmarks/results/NAME`. `shares` compares the recipe as it is, where a share of the label is mixed
into the teachers' answers, with what their answers alone give, with the same seeds and on the
validation images. The teachers of a recipe are trained once for all of them. All keep their runs
below runs/, go on where they were when interrupted, and write their results, as JSON, below
benchmarks/results/NAME.

The teachers want an accelerator (README: Train it). After them `ablation` takes ten minutes on two
cores, `seeds` an hour, and `shares` as long again.
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

from training.config import FitSettings, read_settings
from training.recipe import Distillation, Recipe
from training.run import Run, best_epoch, kept_epoch

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
RUNS = ROOT / "runs"
RECIPES = ROOT / "training" / "recipes"

FULL = "full"
SEEDS = 42, 43, 44
ABLATION_EPOCHS = 6
PLAIN = [
    ("Adam, constant rate 0.001, 256 images a step", ["--fit.learning-rate=0.001"]),
    ("cosine schedule, highest rate 0.002", ["--fit.learning-rate=0.002", "--fit.schedule=cosine"]),
    ("weight decay 0.02", ["--fit.weight-decay=0.02"]),
    (
        "batch normalisation, highest rate 0.006",
        ["--fit.batch-normalization", "--fit.learning-rate=0.006"],
    ),
    ("no dropout", ["--network.dropout=0"]),
    ("flip", ["--augmentation.flip"]),
    ("shift by 1 pixel", ["--augmentation.shift=1"]),
]
ABLATION = {
    FULL: [
        *PLAIN,
        ("erase in 30 %", ["--augmentation.erase=0.3"]),
        ("25 % like photographs", ["--augmentation.photo-share=0.25"]),
        (
            "the teachers' answers",
            [f"--config={RECIPES / FULL}.toml", "--distillation.label-share=0"],
        ),
    ],
    "accurate": [
        ("those of `full`, up to the shift", [setting for _, more in PLAIN for setting in more]),
        ("erase in 20 %", ["--augmentation.erase=0.2"]),
        (
            "the teachers' answers",
            [f"--config={RECIPES / 'accurate'}.toml", "--distillation.label-share=0"],
        ),
        ("30 % of the label", ["--distillation.label-share=0.3"]),
    ],
}
"""The ingredients of each recipe and their settings, added to those before them."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit what is missing, measure, print a table, write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("experiment", choices=["ablation", "seeds", "shares"])
    parser.add_argument("--recipe", default=FULL, choices=ABLATION)
    parser.add_argument("--photographs", type=Path, help="what benchmarks.photographs prepared")
    options = parser.parse_args(arguments)
    if options.experiment == "ablation":
        results = ablation(options.recipe)
        for row in results["steps"]:
            print(f"{row['validation_accuracy']:.4f}  {row['added']}")
    elif options.experiment == "shares":
        results = shares(options.recipe)
        for row in results["shares"]:
            print(f"{row['label_share']:.0%} of the label: {row['mean']:.4f}  {row['values']}")
    else:
        results = seeds(options.recipe, options.photographs)
        for name, row in results["measures"].items():
            print(f"{name:34}{row['mean']:.4f} ± {row['standard_deviation']:.4f}")
    path = RESULTS / options.recipe / f"{options.experiment}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=2) + "\n")


def ablation(recipe: str) -> dict[str, Any]:
    """Fit each step of `ABLATION`; return the best validation accuracies."""
    settings = [
        "--fit.batch-size=256",
        f"--fit.validation-fraction={read_recipe(recipe).fit.validation_fraction}",
        f"--fit.epochs={ABLATION_EPOCHS}",
        f"--fit.patience={ABLATION_EPOCHS}",
    ]
    steps = []
    for number, (added, more) in enumerate(tqdm(ABLATION[recipe], desc="ablation", unit="run")):
        settings = [*settings, *more]
        run_dir = RUNS / "ablation" / f"{recipe}-{number}"
        train("fit", run_dir, teachers_of(recipe), *settings)
        history = Run(run_dir).read_history()
        accuracy = history[best_epoch(history)]["val_accuracy"]
        steps.append({"added": added, "validation_accuracy": accuracy})
    return {"recipe": recipe, "epochs": ABLATION_EPOCHS, "seed": SEEDS[0], "steps": steps}


def seeds(recipe: str, photographs: Path | None) -> dict[str, Any]:
    """Fit and evaluate the recipe with each seed; return means and standard deviations."""
    scores = []
    for seed in tqdm(SEEDS, desc="seeds", unit="run"):
        run_dir = RUNS / "seeds" / f"{recipe}-{seed}"
        teachers = teachers_of(recipe)
        train("fit", run_dir, config_of(recipe), f"--fit.seed={seed}", teachers)
        shown = [f"--photographs={photographs}"] if photographs else []
        train("evaluate", run_dir, teachers, *shown)
        scores.append(Run(run_dir).read_evaluation())
    measures = {
        "test accuracy": [row["test"]["accuracy"] for row in scores],
        "expected calibration error": [
            row["calibration"]["expected_calibration_error"] for row in scores
        ],
    }
    for name in scores[0]["novelty"]["outliers"]:
        measures[f"AUROC: {name}"] = [row["novelty"]["outliers"][name]["auroc"] for row in scores]
    if photographs:
        of_photographs = [row["photographs"] for row in scores]
        measures["AUROC: photographs without a class"] = [
            row["without_a_class"]["auroc"] for row in of_photographs
        ]
        measures["photographs, macro average"] = [row["macro_average"] for row in of_photographs]
    return {
        "recipe": recipe,
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


def shares(recipe: str) -> dict[str, Any]:
    """Fit the recipe without labels and as it is; return the validation accuracies."""
    as_it_is = read_recipe(recipe)
    rows = []
    for share in (0.0, (as_it_is.distillation or Distillation()).label_share):
        values = []
        for seed in tqdm(SEEDS, desc=f"{share:.0%} of the label", unit="run"):
            whole = RUNS / "seeds" / f"{recipe}-{seed}"
            run_dir = whole if share else RUNS / "shares" / f"{recipe}-{share:.1f}-{seed}"
            chosen = [f"--distillation.label-share={share}", f"--fit.seed={seed}"]
            train("fit", run_dir, config_of(recipe), *chosen, teachers_of(recipe))
            history = Run(run_dir).read_history()
            values.append(history[kept_epoch(history, as_it_is.fit)]["val_accuracy"])
        rows.append({"label_share": share, "mean": statistics.mean(values), "values": values})
    return {"seeds": list(SEEDS), "shares": rows}


def config_of(recipe: str) -> str:
    """Return the setting that names its file."""
    return f"--config={RECIPES / recipe}.toml"


def read_recipe(recipe: str) -> Recipe:
    """Read its file."""
    return read_settings(FitSettings, [config_of(recipe)], "recipes").recipe


def teachers_of(recipe: str) -> str:
    """Return the setting that names the folder of its teachers, where `make train` has it."""
    return f"--teachers-dir={RUNS / recipe / 'teachers'}"


def train(command: str, run_dir: Path, *settings: str) -> None:
    """Run a training command in a process of its own; what it prints goes to the run's log."""
    run_dir.mkdir(parents=True, exist_ok=True)
    with (run_dir / "log.txt").open("a") as log:
        subprocess.run(
            [sys.executable, "-m", "training", command, f"--run-dir={run_dir}", *settings],
            cwd=ROOT,
            stdout=log,
            stderr=log,
            check=True,
        )


if __name__ == "__main__":
    main()
