"""How much faster than Keras' own default an epoch of the plain network is.

    python -m benchmarks.training_speed

Two copies of the network are trained side by side, an epoch of each in turn: one by
`model.fit(x, y, batch_size=32)`, as the lesson does, and one by the quick recipe. The ratio of the
median epochs is what counts; beside it stand the best validation accuracies of both.
"""

import statistics
import sys
import time
from collections.abc import Callable

import keras
import numpy as np
from tqdm import tqdm

from training.architecture import build_network
from training.batches import LabelledBatches
from training.callbacks import EpochSeeds
from training.config import FitSettings, read_settings
from training.data import Labelled, load_fashion_mnist
from training.precision import dtype_policy
from training.recipe import Network
from training.trainer import compile_for_training

EPOCHS = 8
GOAL = 2.0
BATCH_SIZE = 32
Epoch = Callable[[int], object]


def main() -> int:
    """Print both epochs, their ratio and both accuracies; return 1 if the goal is missed."""
    settings = read_settings(FitSettings, ["--config=training/recipes/quick.toml"], "benchmark")
    fit = settings.fit
    data = load_fashion_mnist()
    training, validation = data.split(fit)
    keras.utils.set_random_seed(fit.seed)
    models = {
        "model.fit": _lesson(training),
        "quick recipe": _quick(settings, training),
    }
    seconds: dict[str, list[float]] = {name: [] for name in models}
    accuracies: dict[str, list[float]] = {name: [] for name in models}
    for epoch in tqdm(range(EPOCHS), desc="epochs of each", unit="epoch"):
        for name, (model, train_epoch) in models.items():
            start = time.perf_counter()
            train_epoch(epoch)
            seconds[name].append(time.perf_counter() - start)
            predicted = model.predict(validation.images, batch_size=500, verbose=0).argmax(axis=1)
            accuracies[name].append(float(np.mean(predicted == validation.labels)))
    for name in models:
        print(
            f"{name:14}{statistics.median(seconds[name]):6.2f} s an epoch, "
            f"validation accuracy at best {max(accuracies[name]):.4f}"
        )
    # The first epoch holds the compilation of each.
    paired = zip(seconds["model.fit"][1:], seconds["quick recipe"][1:], strict=True)
    low, ratio, high = statistics.quantiles([before / after for before, after in paired], n=4)
    print(f"policy        {dtype_policy(fit.mixed_precision)}")
    print(f"ratio         {ratio:.2f} (half of the epochs {low:.2f} to {high:.2f}), goal {GOAL}")
    return int(ratio < GOAL)


def _lesson(training: Labelled) -> tuple[keras.Model, Epoch]:
    """Return the network and an epoch of it as the lesson trains it."""
    model = build_network(Network())
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model, lambda _: model.fit(*training, batch_size=BATCH_SIZE, verbose=0)


def _quick(settings: FitSettings, training: Labelled) -> tuple[keras.Model, Epoch]:
    """Return the network and an epoch of it as `python -m training fit` trains it."""
    fit = settings.fit
    model = build_network(settings.network, dtype_policy(fit.mixed_precision))
    batches = LabelledBatches(training, settings.recipe)
    compile_for_training(model, fit, steps=len(batches) * fit.epochs)
    seeds = EpochSeeds(batches, fit.seed)
    return model, lambda epoch: model.fit(
        batches,
        shuffle=False,
        initial_epoch=epoch,
        epochs=epoch + 1,
        callbacks=[seeds],
        verbose=0,
    )


if __name__ == "__main__":
    sys.exit(main())
