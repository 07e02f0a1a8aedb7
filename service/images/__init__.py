"""Image files to the network's input, and images of its outputs."""
