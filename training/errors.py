"""The errors of training; each message is one sentence."""


class TrainingError(Exception):
    """The command cannot do its work; the message says why and what to do."""


class DataError(TrainingError):
    """The data set is missing, damaged or not the one expected."""


class RunError(TrainingError):
    """The run folder does not hold what the command needs."""


class ExportError(TrainingError):
    """The artifact cannot be published."""
