"""Counts, logs and traces requests."""
