"""The online half: loads a SavedModel directory and classifies pictures over HTTP."""

__version__ = "0.1.0"
