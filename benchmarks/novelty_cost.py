"""The time that the novelty score adds to an inference.

    python -m benchmarks.novelty_cost

Both engines run the shipped model with and without the score, alternating in one process, on one
image and on 256. Each figure is a ratio of medians over the rounds, with the interquartile range.
"""

import statistics
import sys
import time
from dataclasses import replace

import numpy as np

from service.arrays import Tensor
from service.model.artifact import Artifact, verify
from service.model.classifier import Engine
from service.model.repository import load_engine
from service.model.store import open_source
from service.settings import EngineChoice, Settings

GOAL = 0.10
ROUNDS = 60
IMAGES_PER_ROUND = 512
BATCHES = 1, 256
ENGINES: tuple[EngineChoice, ...] = ("litert", "tensorflow")


def main() -> int:
    """Print the cost of each engine and batch size; return 1 if LiteRT misses the goal."""
    settings = Settings()
    source = open_source(settings.artifacts, settings.cache)
    artifact = verify(source.directory(source.versions()[0]))
    plain = replace(artifact, manifest=artifact.manifest.model_copy(update={"novelty": None}))
    missed = False
    for choice in ENGINES:
        for batch in BATCHES:
            costs = measure(artifact, plain, choice, batch)
            low, middle, high = statistics.quantiles(costs, n=4)
            print(
                f"{choice:11}batch of {batch:3}   {middle:+.1%} (half of {ROUNDS} rounds "
                f"{low:+.1%} to {high:+.1%})"
            )
            missed |= choice == "litert" and middle > GOAL
    print(f"goal: under {GOAL:.0%} with litert: {'missed' if missed else 'met'}")
    return int(missed)


def measure(artifact: Artifact, plain: Artifact, choice: EngineChoice, batch: int) -> list[float]:
    """Return the relative increase of the time in each round."""
    images = np.random.default_rng(0).random((batch, *artifact.manifest.input.shape), np.float32)
    with_score, without = load_engine(artifact, choice), load_engine(plain, choice)
    for engine in (with_score, without):
        engine.assess(images)
    repeats = max(1, IMAGES_PER_ROUND // batch)
    costs = []
    for number in range(ROUNDS):
        # In alternating order, so that neither always has the warmer caches.
        pair = [with_score, without] if number % 2 else [without, with_score]
        seconds = {engine: timed(engine, images, repeats) for engine in pair}
        costs.append(seconds[with_score] / seconds[without] - 1)
    return costs


def timed(engine: Engine, images: Tensor, repeats: int) -> float:
    """Return the total seconds of the repeats."""
    start = time.perf_counter()
    for _ in range(repeats):
        engine.assess(images)
    return time.perf_counter() - start


if __name__ == "__main__":
    sys.exit(main())
