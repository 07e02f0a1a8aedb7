"""The accuracy of the service on photographs that people took at home.

    python -m benchmarks.photographs FOLDER [--for-training]

FOLDER holds photographs.csv, with a row of file, label, kids, sender and split for each photograph,
and the files (training/assets/README.md). The default model classifies the validation photographs
after the service's own preparation; `--prepare plain` only resizes them. Writes
benchmarks/results/photographs.json. `--for-training` writes all prepared photographs into
training/assets/photographs.npz, which training reads.
"""

import argparse
import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.images import read_image
from service.images.decode import Prepare
from service.model.classifier import Classifier
from service.model.repository import load_classifier
from service.model.store import open_source
from service.settings import Settings
from training.photographs import CLASSES_OF_A_LABEL, KINDS, PHOTOGRAPHS

RESULTS = Path(__file__).parent / "results"
MAX_PIXELS = 100_000_000
SHAPE = 28, 28
Row = dict[str, str]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print a table, write the results; or write the file for training."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--prepare", choices=["auto", "plain"], default="auto")
    parser.add_argument("--for-training", action="store_true")
    options = parser.parse_args(arguments)
    with (options.folder / "photographs.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if options.for_training:
        write_for_training(rows, prepare(options.folder, rows, "auto"))
        return
    rows = [row for row in rows if row["split"] == "validation"]
    settings = Settings()
    source = open_source(settings.artifacts, settings.cache)
    classifier = load_classifier(source.directory(source.versions()[0]), "litert")
    results = measure(classifier, rows, prepare(options.folder, rows, options.prepare))
    for label, row in results["labels"].items():
        right = "      " if row["right"] is None else f"{row['right']:.2f}"
        print(
            f"{label:12}{row['photographs']:4}   correct {right:6} novel {row['called_novel']:.2f}"
        )
    print(f"{'average':12}{results['photographs']:4}   correct {results['macro_average']:.2f}")
    if options.prepare == "auto":
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "photographs.json").write_text(json.dumps(results, indent=2) + "\n")


def measure(
    classifier: Classifier, rows: Sequence[Row], pixels: NDArray[np.uint8]
) -> dict[str, Any]:
    """Classify all photographs, and count the correct and the novel ones."""
    names = classifier.manifest.class_names
    probabilities, novelty = classifier.assess(classifier.to_images(list(pixels)))
    if novelty is None:
        raise SystemExit("the model has no novelty score")
    predicted = [names[class_id] for class_id in probabilities.argmax(axis=1)]
    novel = ~classifier.in_distribution(novelty, photos=True)
    labels: dict[str, Any] = {}
    for label, classes in CLASSES_OF_A_LABEL.items():
        chosen = [index for index, row in enumerate(rows) if row["label"] == label]
        labels[label] = {
            "photographs": len(chosen),
            "right": float(np.mean([predicted[index] in classes for index in chosen]))
            if classes
            else None,
            "called_novel": float(novel[chosen].mean()),
        }
    return {
        "model_version": classifier.manifest.version,
        "photographs": sum(labels[kind]["photographs"] for kind in KINDS),
        "macro_average": float(np.mean([labels[kind]["right"] for kind in KINDS])),
        "labels": labels,
    }


def prepare(folder: Path, rows: Sequence[Row], preparation: Prepare) -> NDArray[np.uint8]:
    """Return the prepared photographs, (n, 28, 28)."""
    files = (folder / row["file"] for row in rows)
    prepared = [
        read_image(
            file.read_bytes(), prepare=preparation, shape=SHAPE, max_pixels=MAX_PIXELS
        ).pixels
        for file in tqdm(files, total=len(rows), desc="photographs", unit="photograph")
    ]
    return np.array(prepared, np.uint8)


def write_for_training(rows: Sequence[Row], pixels: NDArray[np.uint8]) -> None:
    """Write the file that training/photographs.py reads."""
    arrays: dict[str, Any] = {
        "pixels": pixels,
        "label": np.array([row["label"] for row in rows]),
        "kids": np.array([row["kids"] == "True" for row in rows]),
        "sender": np.array([int(row["sender"]) for row in rows], np.int32),
        "split": np.array([row["split"] for row in rows]),
        "name": np.array([row["file"] for row in rows]),
        "origin": np.array("https://github.com/alexeygrigorev/clothing-dataset"),
        "licence": np.array("CC0 1.0"),
    }
    np.savez_compressed(PHOTOGRAPHS, **arrays)
    print(f"{len(rows):,} photographs in {PHOTOGRAPHS}")


if __name__ == "__main__":
    main()
