"""Image files to the network's input, and pictures of its outputs."""
