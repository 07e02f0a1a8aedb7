"""Admission control, thread pools and fair scheduling, independent of HTTP."""
