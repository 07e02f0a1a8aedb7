"""The service beside what else people serve such a network with: `python -m benchmarks.peers`."""
