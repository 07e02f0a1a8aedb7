# Each target first installs what it needs, in .venv.

PYTHON ?= python3
# A file of training/recipes: full, the shipped model, or lesson, the plain network of the lesson.
RECIPE ?= full
VENV := .venv
RAY_VENV := .venv-ray
PERF_VENV := .venv-perf-analyzer
BIN := $(VENV)/bin
UV_VERSION := 0.13.9
PIP_AUDIT_VERSION := 2.10.1
# With the extras named: without them older pips leave a pin for a newer release of what it pins.
COMPILE := $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate \
	--no-strip-extras --python-version 3.11
# One more than the processors, because tests wait for servers and browsers a third of the time.
PROCESSES := $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
# Options of pytest for make test. CI runs all tests and measures coverage: PYTEST=--cov
PYTEST ?= -m "not thorough"
AS_TESTED := --constraint requirements/all.txt
extras = pyproject.toml $(foreach extra,$(1),--extra $(extra))

.PHONY: help setup serve test test-ray perf-analyzer check docs screenshots train publish bench fuzz audit lock proto clean

help:
	@echo "make serve   start the service with the shipped model"
	@echo "make test    lint, check types, run the tests"
	@echo "make test-ray  test deploy/ray on a local cluster, in $(RAY_VENV)"
	@echo "make perf-analyzer  install Triton's perf_analyzer for make test; it needs libb64-0d, too"
	@echo "make docs    build the documentation into site/"
	@echo "make screenshots  renew the screenshots of the page and the image of the feature maps"
	@echo "make train   train, evaluate and export the model into runs/; RECIPE=lesson: the plain one"
	@echo "make publish MODEL=my.keras  publish your own network, into exported/ beside it"
	@echo "make setup   install everything into $(VENV)"
	@echo "make bench   run the benchmarks behind the figures of the documents"
	@echo "make fuzz    send many more damaged images and requests than make test does"
	@echo "make audit   look for known vulnerabilities of the locked packages"
	@echo "make lock    renew requirements/ from pyproject.toml"

setup: $(VENV)/.all

serve: $(VENV)/.service
	$(BIN)/python -m service

test: check
	$(BIN)/python -m pytest --numprocesses $(PROCESSES) --dist loadfile --no-loadscope-reorder \
		$(PYTEST)

check: $(VENV)/.all node_modules
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	npx --no-install tsc

# Needs Chromium and a font that has Korean.
screenshots: $(VENV)/.all
	$(BIN)/python -m tests.service.web.screenshots

docs: $(VENV)/.all
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet --builder html docs site

# Its requirements contradict those of the tests, so it has an environment of its own.
perf-analyzer: $(PERF_VENV)/.all

# Ray is as large as all the rest but TensorFlow, so it has an environment of its own.
test-ray: $(RAY_VENV)/.all
	$(RAY_VENV)/bin/python -m pytest -o addopts= -o filterwarnings= tests/ray

# Into the run's own folder; the served model changes only with `export --artifacts`.
train: $(VENV)/.all
	@echo "RECIPE=$(RECIPE): 40 MB in runs/$(RECIPE); on two cores full takes three minutes, lesson a few."
	$(BIN)/python -m training fit --config training/recipes/$(RECIPE).toml --run-dir runs/$(RECIPE)
	$(BIN)/python -m training evaluate --run-dir runs/$(RECIPE)
	$(BIN)/python -m training export --run-dir runs/$(RECIPE)
	@echo "Publish it where the service looks: $(BIN)/python -m training export --run-dir runs/$(RECIPE) --artifacts artifacts/fashion_mnist"

publish: $(VENV)/.all
	$(BIN)/python -m training publish $(MODEL)
	@echo "Here, python is $(BIN)/python"

bench: $(VENV)/.all
	$(BIN)/python -m benchmarks.tensor_overhead
	$(BIN)/python -m benchmarks.novelty_cost
	$(BIN)/python -m benchmarks.preparation
	$(BIN)/python -m benchmarks.metrics_overhead
	$(BIN)/python -m benchmarks.page
	$(BIN)/python -m benchmarks.attribution
	$(BIN)/python -m benchmarks.capacity
	$(BIN)/python -m benchmarks.request_path
	$(BIN)/python -m benchmarks.goals
	$(BIN)/python -m benchmarks.peers

# 80 times as many damaged images as `make test` sends, and 40 times as many requests.
fuzz: $(VENV)/.all
	FUZZ_IMAGES=32000 FUZZ_REQUESTS=12000 FUZZ_EXAMPLES=400 $(BIN)/python -m pytest tests/fuzz

# Known vulnerabilities of the locked packages. Fails as well if the advisories are unavailable.
audit: $(BIN)/python
	$(BIN)/python -m pip install --quiet pip-audit==$(PIP_AUDIT_VERSION)
	$(BIN)/pip-audit --strict --disable-pip --require-hashes -r requirements/service-extras.txt

# Renew the generated module after a change to the .proto.
proto: $(VENV)/.all
	$(BIN)/python -m grpc_tools.protoc -I. --python_out=. service/protocols/grpc/*.proto

lock: $(BIN)/python
	$(BIN)/python -m pip install --quiet uv==$(UV_VERSION)
	$(COMPILE) --upgrade $(call extras,grpc otel s3 signing training test docs) -o requirements/all.txt
	$(COMPILE) $(AS_TESTED) $(call extras,) -o requirements/service.txt
	$(COMPILE) $(AS_TESTED) $(call extras,grpc otel s3 gcs signing) -o requirements/service-extras.txt
	$(COMPILE) $(AS_TESTED) $(call extras,training) -o requirements/training.txt
	$(COMPILE) $(AS_TESTED) --group build -o requirements/build.txt
	$(COMPILE) $(AS_TESTED) $(call extras,ray) --group test-ray -o requirements/ray.txt
	$(COMPILE) --group perf-analyzer -o requirements/perf-analyzer.txt

clean:
	rm -rf $(VENV) $(RAY_VENV) $(PERF_VENV) .venv-peers node_modules tests/service/clients/node_modules site .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache

$(VENV)/.service: requirements/service.txt | $(BIN)/python
	@echo "Installing the service into $(VENV): 60 MB, once, a minute or so"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	touch $@

$(VENV)/.all: requirements/all.txt | $(BIN)/python
	@echo "Installing the service, training and tests into $(VENV): 2 GB, once, some minutes"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	touch $@

# TypeScript and axe, which check the page, and clients that the tests run.
node_modules: package-lock.json
	npm ci --no-audit --no-fund --silent
	touch $@

$(RAY_VENV)/.all $(PERF_VENV)/.all: .venv-%/.all: requirements/%.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
		{ echo "Python 3.11, 3.12 or 3.13 is needed: make PYTHON=python3.13 …" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
