"""These tests need Ray, which has an environment of its own: `make test-ray`."""

import importlib.util

collect_ignore_glob = [] if importlib.util.find_spec("ray") else ["*"]
