"""How often the service is right about photographs that people took at home.

    python -m benchmarks.photographs FOLDER

FOLDER holds a folder of photographs for each of `CLASSES`, by the names of the clothing data set
(https://github.com/alexeygrigorev/clothing-dataset-small, CC0); other folders are left out. The
photographs are for measuring only. The answers are those of the shipped model through the service's
own preparation; `--prepare plain` measures what merely resizing them gives. Writes
benchmarks/results/photographs.json, and photographs.png with some of them before and after.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from tqdm import tqdm

from service.classifier import Classifier, load_classifier
from service.images import Prepare, read_image
from service.settings import Settings
from service.sources import open_source

RESULTS = Path(__file__).parent / "results"
MAX_PIXELS = 100_000_000

CLASSES: dict[str, set[str]] = {
    "t-shirt": {"T-shirt/top"},
    "pants": {"Trouser"},
    "longsleeve": {"Pullover"},
    "dress": {"Dress"},
    "outwear": {"Coat"},
    "shirt": {"Shirt"},
    "shoes": {"Sandal", "Sneaker", "Ankle boot"},
}
SHOWN_A_CLASS = 4
TILE = 112


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print a table, write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--prepare", choices=["auto", "plain"], default="auto")
    options = parser.parse_args(arguments)
    settings = Settings()
    source = open_source(settings.artifacts, settings.cache)
    classifier = load_classifier(source.directory(source.versions()[0]), "litert")
    answers = {
        name: _classify(classifier, sorted((options.folder / name).glob("*.jpg")), options.prepare)
        for name in tqdm(CLASSES, desc="photographs", unit="class")
    }
    shares = {
        name: float(np.mean([label in CLASSES[name] for _, _, label in rows]))
        for name, rows in answers.items()
    }
    macro = float(np.mean(list(shares.values())))
    for name, share in shares.items():
        print(f"{name:12}{share:6.2f}   of {len(answers[name])}")
    print(f"{'macro':12}{macro:6.2f}")
    if options.prepare == "auto":
        _write(classifier, answers, shares, macro)


Answer = tuple[Path, np.ndarray[tuple[int, ...], np.dtype[np.uint8]], str]


def _classify(classifier: Classifier, paths: Sequence[Path], prepare: Prepare) -> list[Answer]:
    """Return of each photograph its path, what the network saw, and the label it gave."""
    shape = classifier.manifest.input.size
    pixels = [
        read_image(path.read_bytes(), prepare=prepare, shape=shape, max_pixels=MAX_PIXELS).pixels
        for path in paths
    ]
    labels = classifier.predict(pixels).argmax(axis=1)
    names = classifier.manifest.class_names
    return [(p, x, names[label]) for p, x, label in zip(paths, pixels, labels, strict=True)]


def _write(
    classifier: Classifier,
    answers: dict[str, list[Answer]],
    shares: dict[str, float],
    macro: float,
) -> None:
    RESULTS.mkdir(exist_ok=True)
    results = {
        "model_version": classifier.manifest.version,
        "photographs": sum(map(len, answers.values())),
        "macro_average": macro,
        "classes": shares,
    }
    (RESULTS / "photographs.json").write_text(json.dumps(results, indent=2) + "\n")
    _contact_sheet(answers).quantize(128).save(RESULTS / "photographs.png", optimize=True)


def _contact_sheet(answers: dict[str, list[Answer]]) -> Image.Image:
    """Draw the first photographs of each class, what the network saw of them, and its answers."""
    line = TILE + 18
    sheet = Image.new("RGB", (80 + SHOWN_A_CLASS * (2 * TILE + 16), line * len(answers)), "white")
    draw = ImageDraw.Draw(sheet)
    for row, (name, rows) in enumerate(answers.items()):
        draw.text((6, row * line + TILE // 2), name, "black")
        for column, (path, pixels, label) in enumerate(rows[:SHOWN_A_CLASS]):
            left, top = 80 + column * (2 * TILE + 16), row * line
            photo = Image.open(path).convert("RGB")
            photo.thumbnail((TILE, TILE))
            sheet.paste(photo, (left, top))
            seen = Image.fromarray(pixels).resize((TILE, TILE), Image.Resampling.NEAREST)
            sheet.paste(seen, (left + TILE + 2, top))
            colour = "#1a7f37" if label in CLASSES[name] else "#b3261e"
            draw.text((left, top + TILE + 2), label, colour)
    return sheet


if __name__ == "__main__":
    main()
