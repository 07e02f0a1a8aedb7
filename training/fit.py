"""Train the network; an interrupted run resumes and ends with the weights it would have had.

Whatever is random in an epoch depends on the seed and the epoch's number alone. The rest of the
state is one file, renamed into place, and the history.
"""

import math
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from .architecture import build_network
from .batches import PREDICT_BATCH, Targets, TrainingBatches
from .config import FitSettings
from .data import FashionMnist, load_fashion_mnist, split_as
from .errors import RunError
from .photographs import Photographs, read_photographs
from .recipe import Fit, Recipe
from .run import Run, best_epoch, epochs_waited, is_used_up, kept_epoch

ASSETS = Path(__file__).parent / "assets"
START_WEIGHTS, START_ANSWERS = ASSETS / "start.weights.h5", ASSETS / "answers.npz"
WARMUP_SHARE = 0.1
"""Share of the steps over which a schedule rises."""
STEPS_PER_EXECUTION = 16
"""Steps between returns to Python, which in so small a network take as long as a step."""
LEARNT_NOTHING = 2.0
"""A network that is right less than this many times as often as by chance has learnt nothing."""


def run(settings: FitSettings) -> None:
    """Train, or resume, the run in `settings.run_dir`."""
    training_run, recipe = Run(settings.run_dir), settings.recipe
    if settings.fresh:
        training_run.discard()
    training_run.require_same_recipe(recipe)
    data = load_fashion_mnist(settings.data_dir, settings.allow_other_data, settings.classes)
    photographs = read_photographs("train") if recipe.photographs.share else None
    training_run.begin(recipe, data)
    if training_run.is_finished(recipe.fit):
        print(f"{settings.run_dir} is complete; --fresh starts it again.")
    else:
        train(training_run, recipe, data, photographs)
    history = training_run.read_history()
    kept = history[kept_epoch(history, recipe.fit)]
    if kept["val_accuracy"] < LEARNT_NOTHING / len(data.class_names):
        print(
            "It learnt next to nothing: by chance it would be right on "
            f"{1 / len(data.class_names):.0%}. Try a smaller --fit.learning-rate, or more filters "
            "or epochs, with --fresh."
        )
    print(
        f"Kept epoch {kept_epoch(history, recipe.fit) + 1} of {len(history)}: validation accuracy "
        f"{kept['val_accuracy']:.4f}, loss {kept['val_loss']:.4f}. "
        f"Next: {settings.next_command('evaluate')}"
    )


def train(
    training_run: Run, recipe: Recipe, data: FashionMnist, photographs: Photographs | None
) -> None:
    """Train on until epochs or patience are used up; raise a RunError if the training diverges."""
    fit = recipe.fit
    training, validation = data.split(fit)
    print(
        f"Training on {len(training.images):,} images, validating on "
        f"{len(validation.images):,}, from {data.folder}"
    )
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(fit.seed)
    classes = len(data.class_names)
    one_hot = np.eye(classes, dtype=np.float32)
    targets = one_hot[training.labels]
    if share := recipe.start.answers:
        targets = np.float32(share) * earlier_answers(data, fit) + np.float32(1 - share) * targets
    model = build_network(recipe.network, classes)
    if recipe.start.weights:
        load_start(model)
    batches = TrainingBatches(training, targets, recipe, photographs)
    model.compile(
        optimizer=build_optimizer(fit, steps=len(batches) * fit.epochs),
        loss=Crossentropy(label_smoothing=fit.label_smoothing),
        metrics=[accuracy],
        steps_per_execution=STEPS_PER_EXECUTION,
    )
    # Not the arrays, for which Keras makes operations that TensorFlow complains of on stderr.
    validation_batches = tf.data.Dataset.from_tensor_slices(
        (validation.images, one_hot[validation.labels])
    )
    epochs_before = 0
    if training_run.last.exists():
        model.optimizer.build(model.trainable_variables)
        model.load_weights(training_run.last)  # and the optimizer's state
        epochs_before = int(model.optimizer.iterations) // len(batches)
    history = training_run.keep_history(epochs_before)
    epochs = epochs_before if is_used_up(history, fit) else fit.epochs
    early_stopping = keras.callbacks.EarlyStopping(patience=fit.patience)
    checkpoint = keras.callbacks.ModelCheckpoint(training_run.best, save_best_only=True)
    logger = keras.callbacks.CSVLogger(training_run.history, append=True)
    try:
        with interruption_between_batches() as interruption:
            model.fit(
                batches,
                shuffle=False,  # by Keras, whose generator a resumed run would find elsewhere
                initial_epoch=epochs_before,
                epochs=epochs,
                validation_data=validation_batches.batch(PREDICT_BATCH),
                # The bar is redrawn in place, which only a terminal can show.
                verbose=1 if sys.stdout.isatty() else 2,
                callbacks=[
                    keras.callbacks.LambdaCallback(
                        on_epoch_begin=lambda epoch, _: seed_epoch(model, batches, fit.seed, epoch)
                    ),
                    early_stopping,
                    checkpoint,
                    logger,
                    keras.callbacks.TensorBoard(training_run.tensorboard, write_graph=False),
                    Resume(training_run, epochs_before, early_stopping, checkpoint),
                    interruption,
                ],
            )
    finally:
        logger.on_train_end()  # which Keras leaves out if a callback raises
    training_run.finish()


def load_start(model: Any) -> None:
    """Give the network the weights of version 2; raise a RunError if it is another network."""
    try:
        model.load_weights(START_WEIGHTS)
    except ValueError as error:
        raise RunError(
            "start.weights: only the network of the default settings can begin with the weights "
            "of version 2"
        ) from error


def earlier_answers(data: FashionMnist, fit: Fit) -> Targets:
    """Return the answers of versions 1 and 2 to the training part, (n, 10).

    With them the network keeps what it knows of these images while it learns others (Li and Hoiem
    2016, Learning without Forgetting, https://arxiv.org/abs/1606.09282). Other data is a RunError.
    """
    if not data.is_fashion_mnist:
        raise RunError("start.answers: there are answers to the images of Fashion-MNIST only")
    with np.load(START_ANSWERS) as arrays:
        answers, _ = split_as(fit, data.train_labels, arrays["probabilities"])
    return np.asarray(answers, np.float32)


@keras.saving.register_keras_serializable("training")
class Crossentropy(keras.losses.CategoricalCrossentropy):  # type: ignore[misc]  # no types
    """−Σ t log p for the probabilities t of the classes; −log Σ p over a set of right classes.

    A target is a set where it sums to more than one: a label such as "shoes" leaves open which of
    three classes is right.
    """

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of each image, (b,)."""
        of_classes = super().call(y_true, y_pred)
        right = keras.ops.sum(y_true * y_pred, axis=-1)
        of_a_set = -keras.ops.log(keras.ops.maximum(right, keras.config.epsilon()))
        return keras.ops.where(keras.ops.sum(y_true, axis=-1) > 1.5, of_a_set, of_classes)


@keras.saving.register_keras_serializable("training")  # type: ignore[untyped-decorator]
def accuracy(y_true: Any, y_pred: Any) -> Any:
    """Return 1 where the most probable class is right, or is the target's most probable: (b,)."""
    predicted = keras.ops.expand_dims(keras.ops.argmax(y_pred, axis=-1), -1)
    target = keras.ops.take_along_axis(y_true, predicted, axis=-1)[..., 0]
    return keras.ops.cast(target >= keras.ops.max(y_true, axis=-1), "float32")


def build_optimizer(fit: Fit, steps: int) -> Any:
    """Build Adam, with decoupled weight decay, for a training of so many steps.

    Loshchilov and Hutter 2019, https://arxiv.org/abs/1711.05101.
    """
    rate: Any = fit.learning_rate
    if fit.schedule == "cosine":
        warmup = max(1, round(steps * WARMUP_SHARE))
        rate = keras.optimizers.schedules.CosineDecay(
            0.0, max(1, steps - warmup), warmup_target=rate, warmup_steps=warmup
        )
    optimizer = keras.optimizers.Adam(rate, weight_decay=fit.weight_decay or None)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    return optimizer


def seed_epoch(model: Any, batches: TrainingBatches, seed: int, epoch: int) -> None:
    """Seed the order of the images and every random layer from the number of the epoch."""
    batches.begin_epoch(epoch)
    for number, layer in enumerate(model.layers, start=1):
        if generator := getattr(layer, "seed_generator", None):
            seeds = np.random.default_rng((seed, epoch, number))
            generator.state.assign(seeds.integers(2**32, size=2, dtype=np.uint32))


class Resume(keras.callbacks.Callback):  # type: ignore[misc]  # Keras ships no types
    """Saves the whole model after each epoch, and tells the other callbacks what they forgot.

    It must come last: whenever the process dies, the epochs that the saved model has had are in the
    history, and an epoch of the history that it has not had is repeated.
    """

    def __init__(self, run: Run, epochs_before: int, early_stopping: Any, checkpoint: Any) -> None:
        super().__init__()
        self._run, self._epochs_before = run, epochs_before
        self._early_stopping, self._checkpoint = early_stopping, checkpoint

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Restore what the epochs before led to."""
        del logs
        if rows := self._run.read_history()[: self._epochs_before]:
            best = best_epoch(rows)
            self._early_stopping.best = self._checkpoint.best = rows[best]["val_loss"]
            self._early_stopping.best_epoch = best
            self._early_stopping.wait = epochs_waited(rows)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Save the model with its optimizer; raise a RunError if the loss is no number."""
        logs = logs or {}
        if not math.isfinite(logs["loss"] + logs["val_loss"]):
            raise RunError(
                f"the training diverged in epoch {epoch + 1} (loss {logs['loss']}): "
                "try a smaller --fit.learning-rate with --fresh"
            )
        temporary = self._run.last.with_name(f".{self._run.last.name}")
        self.model.save(temporary)
        temporary.replace(self._run.last)


@contextmanager
def interruption_between_batches() -> Iterator[Any]:
    """Give a callback that turns Ctrl-C into KeyboardInterrupt between two batches.

    Raised wherever the interpreter happens to be, the exception may come up in a finalizer or in a
    call from C, which print it and go on. Pressed a second time, Ctrl-C does what it usually does.
    """
    pressed, usual = threading.Event(), signal.getsignal(signal.SIGINT)

    def press(*_: object) -> None:
        pressed.set()
        signal.signal(signal.SIGINT, usual)

    def interrupt(*_: object, **__: object) -> None:
        if pressed.is_set():
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, press)
    try:
        yield keras.callbacks.LambdaCallback(
            on_train_batch_end=interrupt, on_test_batch_end=interrupt
        )
    finally:
        signal.signal(signal.SIGINT, usual)
