"""The routes: they translate between HTTP and the classifier, and decide nothing else."""
