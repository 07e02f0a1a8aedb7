"""What the process takes on at a time, and which threads do the work. Knows nothing of HTTP."""
