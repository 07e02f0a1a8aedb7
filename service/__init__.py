"""The online half: loads a SavedModel directory and classifies pictures over HTTP."""
