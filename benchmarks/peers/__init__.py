"""The service compared with other model servers: `python -m benchmarks.peers`."""
