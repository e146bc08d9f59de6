# make demo   the whole path on real digits, in minutes      make test   all tests, lint, types, import contracts
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SOURCES := $(wildcard pyproject.toml export/pyproject.toml runtime/pyproject.toml constraints.txt)

.PHONY: setup demo test check transformers4 bench clean

setup: $(STAMP)

$(STAMP): $(SOURCES)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable runtime --editable export \
	    --editable '.[audio,cpu,dicom,openvino,tensorrt-rtx,train]' --group dev
	touch $@

demo: setup
	rm -rf demo
	$(BIN)/pfedge demo --out demo

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: check transformers4
	$(BIN)/python -m pytest

# the tests that touch transformers' internals, once more on its 4.57 line
transformers4: $(VENV)/transformers4
	PYTHONPATH=$(VENV)/transformers4 $(BIN)/python -m pytest tests/test_backbone.py tests/test_model.py \
	    tests/test_reference.py tests/test_blocks.py tests/test_isolated.py

$(VENV)/transformers4: $(STAMP)
	rm -rf $@
	$(BIN)/python -m pip install --quiet --no-deps --target $@ 'transformers==4.57.*' 'huggingface-hub==0.36.*' \
	    'tokenizers==0.22.*' requests urllib3 idna certifi charset-normalizer
	touch $@

bench: setup
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/linear_probe.py
	$(BIN)/python benchmarks/forgetting.py

clean:
	rm -rf $(VENV) demo build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
