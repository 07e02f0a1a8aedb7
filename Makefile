# Each target does what it needs first, in .venv.

PYTHON ?= python3
# A file of training/recipes: photo is what is shipped, quick is the plain network of the lesson.
RECIPE ?= photo
VENV := .venv
BIN := $(VENV)/bin
UV_VERSION := 0.13.9
COMPILE := $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate \
	--python-version 3.11

.PHONY: help setup serve test check train bench lock proto clean

help:
	@echo "make serve   start the service with the shipped model"
	@echo "make test    lint, check types, run the tests"
	@echo "make train   train, evaluate and export a new version of the model"
	@echo "make setup   install everything into $(VENV)"
	@echo "make bench   measure what README and benchmarks/ say"
	@echo "make lock    renew requirements/ from pyproject.toml"

setup: $(VENV)/.all

serve: $(VENV)/.service
	$(BIN)/python -m service

test: check
	$(BIN)/python -m pytest

check: $(VENV)/.all
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

train: $(VENV)/.all
	$(BIN)/python -m training fit --config training/recipes/$(RECIPE).toml --run-dir runs/$(RECIPE)
	$(BIN)/python -m training evaluate --run-dir runs/$(RECIPE)
	$(BIN)/python -m training export --run-dir runs/$(RECIPE)

bench: $(VENV)/.all
	$(BIN)/python -m benchmarks.tensor_overhead
	$(BIN)/python -m benchmarks.metrics_overhead

# Renew the generated module after a change to the .proto.
proto: $(VENV)/.all
	$(BIN)/python -m grpc_tools.protoc -I. --python_out=. service/grpc/open_inference.proto

lock: $(BIN)/python
	$(BIN)/python -m pip install --quiet uv==$(UV_VERSION)
	$(COMPILE) --upgrade --all-extras pyproject.toml -o requirements/all.txt
	$(COMPILE) -c requirements/all.txt pyproject.toml -o requirements/service.txt

clean:
	rm -rf $(VENV) .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache

$(VENV)/.service: requirements/service.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	touch $@

$(VENV)/.all: requirements/all.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
		{ echo "Python 3.11, 3.12 or 3.13 is needed: make PYTHON=python3.13 …" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
