# make demo   the whole path on real digits, in minutes      make test   all tests, lint, types, import contracts
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SOURCES := $(wildcard pyproject.toml export/pyproject.toml runtime/pyproject.toml constraints.txt)

# an index that has torch's CPU build, say: make setup TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=
PIP_INSTALL := $(BIN)/python -m pip install --quiet --constraint constraints.txt \
    $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))

.PHONY: setup demo audit-demo test check dist docs fuzz transformers4 bench gpu clean

setup: $(STAMP)

# what the demonstration uses: the trainer, the exporter, ONNX Runtime
$(VENV)/.demo: $(SOURCES)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(PIP_INSTALL) --editable runtime --editable export --editable '.[cpu,train]'
	touch $@

# and what the tests use besides
$(STAMP): $(VENV)/.demo
	$(PIP_INSTALL) --editable runtime --editable export \
	    --editable '.[audio,cpu,dicom-lossless,openvino,pdf,tensorrt-rtx,train]' --group dev
	touch $@

demo: $(VENV)/.demo
	rm -rf demo
	$(BIN)/pfedge demo --out demo

# two guarantees attacked after forgetting the 3; exit code 3 says that a model is not indistinguishable
audit-demo: setup
	rm -rf demo-audit
	$(BIN)/pfedge train --dataset digits --model-name builtin:micro --guarantee exact --out demo-audit/exact
	$(BIN)/pfedge audit demo-audit/exact --forget 3 --out demo-audit/report-exact
	$(BIN)/pfedge train --dataset digits --model-name builtin:micro --guarantee isolated --epochs 5 --out demo-audit/isolated
	$(BIN)/pfedge audit demo-audit/isolated --forget 3 --shadows 4 --out demo-audit/report-isolated || test $$? -eq 3

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# the documentation, into build/docs; a link that leads nowhere stops it
docs: $(VENV)/.docs
	$(BIN)/python benchmarks/tables/audits.py > /dev/null
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

$(VENV)/.docs: $(STAMP)
	$(PIP_INSTALL) --group docs
	touch $@

# a process for each core, and one thread in each
test: check transformers4 $(VENV)/.docs
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist loadfile

# wheels and source distributions, checked, and installed in an empty environment
DIST ?= dist
dist: setup
	$(PIP_INSTALL) --group dist
	rm -rf $(DIST)
	for package in runtime export .; do $(BIN)/python -m build --outdir $(DIST) $$package || exit; done
	$(BIN)/python -m twine check --strict $(DIST)/*
	$(PYTHON) -m venv --clear $(DIST)/.empty
	$(DIST)/.empty/bin/python -m pip install --quiet --constraint constraints.txt --find-links $(DIST) 'pfedge[cpu]==0.1.0'
	$(DIST)/.empty/bin/pfedge inspect --bundle tests/formats/v1/bundle --selftest
	rm -r $(DIST)/.empty

# every reader of what a stranger may have written, ten minutes each: make fuzz SECONDS=60
SECONDS ?= 600
READERS := manifest bank statistics sealed ledger receipt keys
fuzz: setup
	$(BIN)/python -m pip install --quiet atheris==3.0.0
	$(foreach reader,$(READERS),$(BIN)/python tests/attacks/fuzz_readers.py $(reader) --seconds $(SECONDS) &&) true

# the tests that touch transformers' internals, once more on its 4.57 line
transformers4: $(VENV)/transformers4
	PYTHONPATH=$(VENV)/transformers4 $(BIN)/python -m pytest tests/trainer/test_backbone.py tests/trainer/test_shared_model.py \
	    tests/trainer/test_import_reference.py tests/trainer/test_blocks.py tests/trainer/test_isolated_model.py

$(VENV)/transformers4: $(STAMP)
	rm -rf $@
	$(BIN)/python -m pip install --quiet --no-deps --target $@ 'transformers==4.57.*' 'huggingface-hub==0.36.*' \
	    'tokenizers==0.22.*' requests urllib3 idna certifi charset-normalizer
	touch $@

# every table of docs/performance.md, about half an hour; leave the machine alone meanwhile
bench: setup $(VENV)/optimum
	test -d demo/run || $(BIN)/pfedge demo --out demo
	$(BIN)/python benchmarks/speed/peers.py
	$(BIN)/python benchmarks/speed/forgetting.py demo/run
	$(BIN)/python benchmarks/speed/growth.py
	$(BIN)/python benchmarks/speed/startup.py
	$(BIN)/python benchmarks/speed/engines.py
	$(BIN)/python benchmarks/tables/performance.py

# optimum-onnx, which needs transformers 4, beside the environment
$(VENV)/optimum: $(STAMP)
	rm -rf $@
	$(BIN)/python -m pip install --quiet --no-deps --target $@ optimum-onnx optimum 'transformers==4.57.*' \
	    'huggingface-hub==0.36.*' 'tokenizers==0.22.*' requests urllib3 idna certifi charset-normalizer
	touch $@

# for whoever has an NVIDIA GPU: BUNDLE=... [RUN=...]
gpu: setup
	$(BIN)/python benchmarks/speed/gpu.py $(or $(BUNDLE),bundle) $(if $(RUN),--run $(RUN))
	$(BIN)/python benchmarks/tables/performance.py

clean:
	rm -rf $(VENV) demo demo-audit build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
