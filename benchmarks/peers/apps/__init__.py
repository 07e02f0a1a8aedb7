"""The application of each peer. Each imports only what is installed in its peer's environment."""
