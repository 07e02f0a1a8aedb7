"""How often the service is right about photographs that people took at home.

    python -m benchmarks.photographs FOLDER [--prepared FILE]

FOLDER holds a folder of photographs for each of `CLASSES`, by the names of the clothing data set
(https://github.com/alexeygrigorev/clothing-dataset-small, CC0). The photographs are for measuring
only. The answers are those of the default model through the service's own preparation; `--prepare
plain` measures what merely resizing them gives. Writes benchmarks/results/photographs.json, and
with `--prepared` what the network sees of each, for `python -m training evaluate --photographs`.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from tqdm import tqdm

from service.images.decode import Prepare, read_image
from service.model.classifier import Classifier
from service.model.repository import load_classifier
from service.model.store import open_source
from service.settings import Settings

RESULTS = Path(__file__).parent / "results"
MAX_PIXELS = 100_000_000
THUMBNAIL_SIDE = 96

CLASSES: dict[str, set[str]] = {
    "t-shirt": {"T-shirt/top"},
    "pants": {"Trouser"},
    "longsleeve": {"Pullover"},
    "dress": {"Dress"},
    "outwear": {"Coat"},
    "shirt": {"Shirt"},
    "shoes": {"Sandal", "Sneaker", "Ankle boot"},
    "hat": set(),
    "shorts": set(),
    "skirt": set(),
}
"""The right answers to each kind; none where the network has no class for it."""


class Photographs(NamedTuple):
    """Photographs of one kind: their files, and (n, 28, 28) uint8 as they were prepared."""

    paths: list[Path]
    pixels: NDArray[np.uint8]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print a table, write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--prepare", choices=["auto", "plain"], default="auto")
    parser.add_argument("--prepared", type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    settings = Settings()
    source = open_source(settings.artifacts, settings.cache)
    classifier = load_classifier(source.directory(source.versions()[0]), "litert")
    photographs = {
        kind: _prepare(classifier, sorted((options.folder / kind).glob("*.jpg")), options.prepare)
        for kind in tqdm(CLASSES, desc="photographs", unit="kind")
    }
    results = measure(classifier, photographs)
    for kind, row in results["kinds"].items():
        print(f"{kind:12}{row['photographs']:4}   right {row['right']:.2f}   ", end="")
        print(f"novel {row['called_novel']:.2f}")
    print(f"{'average':12}{results['photographs']:4}   right {results['macro_average']:.2f}")
    if options.prepared:
        _write_prepared(options.prepared, photographs, classifier.manifest.class_names)
    if options.prepare == "auto":
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "photographs.json").write_text(json.dumps(results, indent=2) + "\n")


def measure(classifier: Classifier, photographs: dict[str, Photographs]) -> dict[str, Any]:
    """Classify everything, and count what is right and what is called novel."""
    names = classifier.manifest.class_names
    kinds = {}
    for kind, (paths, pixels) in photographs.items():
        probabilities, novelty = classifier.assess(classifier.to_images(list(pixels)))
        right = [names[label] in CLASSES[kind] for label in probabilities.argmax(axis=1)]
        if novelty is None:
            raise SystemExit("the model has no novelty score")
        kinds[kind] = {
            "photographs": len(paths),
            "right": float(np.mean(right)),
            "called_novel": float(np.mean(~classifier.in_distribution(novelty))),
        }
    with_a_class = [kinds[kind] for kind, classes in CLASSES.items() if classes]
    return {
        "model_version": classifier.manifest.version,
        "photographs": sum(row["photographs"] for row in with_a_class),
        "macro_average": float(np.mean([row["right"] for row in with_a_class])),
        "kinds": kinds,
    }


def _prepare(classifier: Classifier, paths: list[Path], prepare: Prepare) -> Photographs:
    shape = classifier.manifest.input.size
    pixels = [
        read_image(path.read_bytes(), prepare=prepare, shape=shape, max_pixels=MAX_PIXELS).pixels
        for path in paths
    ]
    return Photographs(paths, np.array(pixels, np.uint8))


def _write_prepared(
    file: Path, photographs: dict[str, Photographs], class_names: Sequence[str]
) -> None:
    """Write what training/photographs.py reads."""
    file.parent.mkdir(parents=True, exist_ok=True)
    kinds = [kind for kind, (paths, _) in photographs.items() for _ in paths]
    np.savez_compressed(
        file,
        kinds=np.array(kinds),
        thumbnails=np.stack([_thumbnail(p) for ps, _ in photographs.values() for p in ps]),
        pixels=np.concatenate([pixels for _, pixels in photographs.values()]),
        right_classes=np.array([[name in CLASSES[kind] for name in class_names] for kind in kinds]),
    )


def _thumbnail(path: Path) -> NDArray[np.uint8]:
    picture = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    side = THUMBNAIL_SIDE, THUMBNAIL_SIDE
    return np.asarray(ImageOps.pad(picture, side, color="white"))


if __name__ == "__main__":
    main()
