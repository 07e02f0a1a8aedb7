"""What the service counts, for Prometheus."""

from service.metrics.service import Metrics

__all__ = ["Metrics"]
