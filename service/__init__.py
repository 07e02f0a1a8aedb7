"""The online half: loads a SavedModel directory and classifies pictures over HTTP."""

__version__ = "1.0.0"
