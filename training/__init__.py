"""The offline half: fits the network of the lesson, evaluates it and publishes it."""

__version__ = "1.0.0"

COMMAND = "fashion-mnist-training"
# Installed, it is a part of `fashion_mnist_service`, whose commands are on the path.
PROGRAM = "python -m training" if __name__ == "training" else COMMAND
SERVICE = "python -m service" if __name__ == "training" else "fashion-mnist-service"


class TrainingError(Exception):
    """The command cannot do its work; the message, one sentence, says why and what to do."""
