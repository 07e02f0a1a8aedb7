"""These tests need Ray, which has a separate environment: `make test-ray`."""

import importlib.util

collect_ignore_glob = [] if importlib.util.find_spec("ray") else ["*"]
