"""Regenerate tf_keras.tar.gz: a SavedModel written by `model.save(folder)` of Keras 2.

    pip install tf-keras
    python tests/data/renew_tf_keras.py

tf-keras is not a requirement, so run this in a separate environment.
"""

import tarfile
import tempfile
from pathlib import Path

import numpy as np
import tf_keras
from tf_keras import layers


def main() -> None:
    tf_keras.utils.set_random_seed(1)
    model = tf_keras.Sequential(
        [
            layers.Input((28, 28, 1)),
            layers.Conv2D(4, 3, activation="relu", padding="same"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dropout(0.4),
            layers.Dense(10, activation="softmax"),
        ]
    )
    images = np.random.default_rng(0).random((2, 28, 28, 1), np.float32)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model.save(folder / "model")
        np.savez(folder / "answers.npz", images=images, expected=model.predict(images))
        with tarfile.open(Path(__file__).parent / "tf_keras.tar.gz", "w:gz") as archive:
            for path in sorted(folder.iterdir()):
                archive.add(path, path.name)


if __name__ == "__main__":
    main()
