"""The model server: loads a SavedModel directory and classifies images over HTTP and gRPC."""

__version__ = "1.0.0"
