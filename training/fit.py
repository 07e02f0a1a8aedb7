"""Train the network; an interrupted run resumes and ends with the same weights.

The randomness of an epoch depends on the seed and the epoch alone. The rest of the state is one
file, renamed into place, and the history.
"""

import math
import signal
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from . import TrainingError
from .architecture import build_network
from .batches import PREDICT_BATCH, Targets, TrainingBatches
from .config import FitSettings
from .data import CLASS_NAMES, FashionMnist, Indices, Labelled, load_fashion_mnist
from .photographs import Photographs, read_photographs
from .recipe import Fit, Recipe
from .run import Run, best_epoch, is_used_up, kept_epoch, write_whole

ASSETS = Path(__file__).parent / "assets"
START_WEIGHTS, START_ANSWERS = ASSETS / "start.weights.h5", ASSETS / "answers.npz"
WARMUP_SHARE = 0.1
"""Share of the steps over which a schedule rises."""
STEPS_PER_EXECUTION = 16
"""Steps between returns to Python, which in so small a network take as long as a step."""
LEARNT_NOTHING = 2.0
"""A network whose accuracy is less than this many times chance has learnt nothing."""


def run(settings: FitSettings) -> None:
    """Train, or resume, the run in `settings.run_dir`."""
    training_run, recipe = Run(settings.run_dir), settings.recipe
    data = load_fashion_mnist(settings.data_dir, settings.allow_other_data, settings.classes)
    indices, validation_indices = data.split(recipe.fit)
    training, validation = data.select(indices), data.select(validation_indices)
    targets = make_targets(recipe, data, indices)
    photographs = training_photographs(recipe, data)
    batches = TrainingBatches(training.images, targets, recipe, photographs)
    model = compile_network(recipe, len(data.class_names), len(batches))
    # Last, because a recipe that cannot be trained must not replace a run.
    if settings.fresh:
        training_run.discard()
    training_run.begin(recipe, data)
    if training_run.is_finished(recipe.fit):
        print(f"{settings.run_dir} is complete; --fresh starts it again.")
    else:
        print(
            f"Training on {len(training.images):,} images, validating on "
            f"{len(validation.images):,}, from {data.folder}"
        )
        train(training_run, model, batches, validation, recipe.fit)
    history = training_run.read_history()
    epoch = kept_epoch(history, recipe.fit)
    kept, chance = history[epoch], 1 / len(data.class_names)
    if kept["val_accuracy"] < LEARNT_NOTHING * chance:
        print(
            f"It learnt next to nothing: by chance it would be right on {chance:.0%}. Try a "
            "smaller --fit.learning-rate, or more filters or epochs, with --fresh."
        )
    print(
        f"Kept epoch {epoch + 1} of {len(history)}: validation accuracy "
        f"{kept['val_accuracy']:.4f}, loss {kept['val_loss']:.4f}. "
        f"Next: {settings.next_command('evaluate')}"
    )


def make_targets(recipe: Recipe, data: FashionMnist, indices: Indices) -> Targets:
    """Return the targets of training images, (n, classes): labels mixed with soft targets.

    Soft targets are the predictions of versions 1 and 2 (Li and Hoiem 2016, Learning without
    Forgetting, https://arxiv.org/abs/1606.09282).
    """
    labels = np.eye(len(data.class_names), dtype=np.float32)[data.train_labels[indices]]
    share = recipe.start.answers
    if not share:
        return labels
    if not data.is_fashion_mnist:
        raise TrainingError("start.answers: there are answers to the images of Fashion-MNIST only")
    with np.load(START_ANSWERS) as arrays:
        answers: Targets = arrays["probabilities"][indices].astype(np.float32)
    return np.float32(share) * answers + np.float32(1 - share) * labels


def training_photographs(recipe: Recipe, data: FashionMnist) -> Photographs | None:
    """Read the photographs that the recipe asks for; raise a TrainingError if they do not fit."""
    share, batch_size = recipe.photographs.share, recipe.fit.batch_size
    if not share:
        return None
    if len(data.class_names) != len(CLASS_NAMES):
        raise TrainingError("photographs.share: the photographs are of Fashion-MNIST's ten classes")
    if not 0 < round(share * batch_size) < batch_size:
        raise TrainingError(
            f"photographs.share: {share} of a batch of {batch_size} leaves no image or no "
            "photograph; a larger --fit.batch-size has both"
        )
    return read_photographs("train")


def compile_network(recipe: Recipe, classes: int, steps_an_epoch: int) -> Any:
    """Build the network with its initial weights, ready for `fit`."""
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(recipe.fit.seed)
    model = build_network(recipe.network, classes)
    if recipe.start.weights:
        try:
            model.load_weights(START_WEIGHTS)
        except ValueError as error:
            raise TrainingError(
                "start.weights: only the network of the default settings can begin with the "
                "weights of version 2"
            ) from error
    model.compile(
        optimizer=build_optimizer(recipe.fit, steps_an_epoch * recipe.fit.epochs),
        loss=Crossentropy(label_smoothing=recipe.fit.label_smoothing),
        metrics=[accuracy],
        steps_per_execution=STEPS_PER_EXECUTION,
    )
    return model


def train(
    training_run: Run, model: Any, batches: TrainingBatches, validation: Labelled, fit: Fit
) -> None:
    """Train on until epochs or patience are used up; raise a TrainingError if it diverges."""
    epochs_before = 0
    if training_run.last.exists():
        model.optimizer.build(model.trainable_variables)
        model.load_weights(training_run.last)  # and the optimizer's state
        epochs_before = int(model.optimizer.iterations) // len(batches)
    history = training_run.resume_after(epochs_before)
    targets = np.eye(model.output_shape[1], dtype=np.float32)[validation.labels]
    # With plain arrays Keras makes operations that TensorFlow warns of on stderr.
    validation_batches = tf.data.Dataset.from_tensor_slices((validation.images, targets))
    logger = keras.callbacks.CSVLogger(training_run.history, append=True)
    checkpoints = Checkpoints(training_run, batches, fit)
    usual = signal.signal(signal.SIGINT, checkpoints.interrupt)
    try:
        model.fit(
            batches,
            shuffle=False,  # Keras' own shuffling would differ in a resumed run
            initial_epoch=epochs_before,
            epochs=epochs_before if is_used_up(history, fit) else fit.epochs,
            validation_data=validation_batches.batch(PREDICT_BATCH),
            verbose=1 if sys.stdout.isatty() else 2,
            callbacks=[
                logger,
                keras.callbacks.TensorBoard(training_run.tensorboard, write_graph=False),
                checkpoints,
            ],
        )
    finally:
        signal.signal(signal.SIGINT, usual)
        logger.on_train_end()  # which Keras leaves out if a callback raises
    training_run.finish()


@keras.saving.register_keras_serializable("training")
class Crossentropy(keras.losses.CategoricalCrossentropy):  # type: ignore[misc]  # no types
    """−Σ t log p for the probabilities t of the classes; −log Σ p over a set of right classes.

    A target that sums to more than one is a set: the label "shoes" allows three classes.
    """

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of each image, (b,)."""
        of_classes = super().call(y_true, y_pred)
        right = keras.ops.sum(y_true * y_pred, axis=-1)
        of_a_set = -keras.ops.log(keras.ops.maximum(right, keras.config.epsilon()))
        return keras.ops.where(keras.ops.sum(y_true, axis=-1) > 1.5, of_a_set, of_classes)


@keras.saving.register_keras_serializable("training")  # type: ignore[untyped-decorator]
def accuracy(y_true: Any, y_pred: Any) -> Any:
    """Return 1 where the predicted class is the target's most probable or one of its set, (b,)."""
    predicted = keras.ops.expand_dims(keras.ops.argmax(y_pred, axis=-1), -1)
    target = keras.ops.take_along_axis(y_true, predicted, axis=-1)[..., 0]
    return keras.ops.cast(target >= keras.ops.max(y_true, axis=-1), "float32")


def build_optimizer(fit: Fit, steps: int) -> Any:
    """Build AdamW (Loshchilov and Hutter 2019, https://arxiv.org/abs/1711.05101)."""
    rate: Any = fit.learning_rate
    if fit.schedule == "cosine":
        warmup = max(1, round(steps * WARMUP_SHARE))
        rate = keras.optimizers.schedules.CosineDecay(
            0.0, max(1, steps - warmup), warmup_target=rate, warmup_steps=warmup
        )
    optimizer = keras.optimizers.Adam(rate, weight_decay=fit.weight_decay or None)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    return optimizer


class Checkpoints(keras.callbacks.Callback):  # type: ignore[misc]  # Keras ships no types
    """Seeds each epoch, saves the model after it, and stops on Ctrl-C or without patience left.

    Keras' own callbacks forget the best epoch when a run resumes; this one reads it from the
    history, to which `CSVLogger` has added the epoch. The process may die at any moment: epochs of
    the history that are not in the saved model are repeated.
    """

    def __init__(self, run: Run, batches: TrainingBatches, fit: Fit) -> None:
        super().__init__()
        self._run, self._batches, self._fit = run, batches, fit
        self._is_interrupted = False

    def interrupt(self, *_: object) -> None:
        """Stop the training between two batches, on Ctrl-C; a second one has its usual effect.

        Elsewhere Python may raise KeyboardInterrupt in a finalizer or in a call from C, which print
        it and continue.
        """
        self._is_interrupted = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def on_train_batch_end(self, *_: object, **__: object) -> None:
        """Raise KeyboardInterrupt if the training was interrupted."""
        if self._is_interrupted:
            raise KeyboardInterrupt

    on_test_batch_end = on_train_batch_end

    def on_epoch_begin(self, epoch: int, *_: object) -> None:
        """Seed the order of the images and every random layer from the number of the epoch."""
        self._batches.begin_epoch(epoch)
        for number, layer in enumerate(self.model.layers, start=1):
            if generator := getattr(layer, "seed_generator", None):
                seeds = np.random.default_rng((self._fit.seed, epoch, number))
                generator.state.assign(seeds.integers(2**32, size=2, dtype=np.uint32))

    def on_epoch_end(self, epoch: int, *_: object) -> None:
        """Save the model with its optimizer; raise a TrainingError if the loss is no number."""
        rows = self._run.read_history()
        if not math.isfinite(rows[-1]["loss"] + rows[-1]["val_loss"]):
            raise TrainingError(
                f"the training diverged in epoch {epoch + 1} (loss {rows[-1]['loss']}): "
                "try a smaller --fit.learning-rate with --fresh"
            )
        if best_epoch(rows) == epoch:
            write_whole(self._run.best, self.model.save)
        write_whole(self._run.last, self.model.save)
        self.model.stop_training = is_used_up(rows, self._fit)
