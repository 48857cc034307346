# Everything people and CI run. Needs make and Python 3.11 or newer; environments are made in .venvs/ from the pins in constraints/.

# The first interpreter that is new enough; name another one with `make PYTHON=/path/to/python test`.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { command -v $$p; break; }; done)
# Where the CPU build of torch comes from when pip's own index does not offer one.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
TORCH := $(shell sed -n 's/^torch==//p' constraints/torch.txt)
UV := 0.13.9
# Workers of the test run, and threads of each: two cores are enough, more workers need more memory.
JOBS ?= 2
PYTEST_ARGS ?=

DEMO := .venvs/demo
TEST := .venvs/test
WHEEL := .venvs/wheel
LOCK := .venvs/lock
OPTIMUM := .venvs/optimum
RAY := .venvs/ray
OPENVINO := .venvs/openvino
LOAD := .venvs/load
FUZZ := .venvs/fuzz
OTEL := .venvs/otel
SUPPLY := .venvs/supply
VERIFY := .venvs/verify-types
NOTEBOOK := .venvs/notebook
DOCS := .venvs/docs
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check
# A lock file names every package, so pip need not resolve: older ones (23.2) look past the pin of a `name[extra]`.
PIP_LOCKED := $(PIP_INSTALL) --no-deps --require-hashes
PYTEST_ENV := OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false
PYTEST := $(PYTEST_ENV) $(TEST)/bin/python -m pytest
SOURCES := guardrail adapters onnx_export tests fuzz
PACKAGING_TESTS := tests/test_packaging.py tests/test_import_weight.py tests/test_exported_members.py tests/cli
# What makes records by the fixtures of the checkout, which are not seen there.
PACKAGING_TESTS += $(patsubst %,--ignore=tests/cli/test_%.py,calibrate own replay report sources_stay)

.DEFAULT_GOAL := help
.PHONY: help demo test test-fast campaign fuzz check lint format types style verify-types wheel wheel-test optimum-test ray-test otel-test notebook-test docs docs-links audit sbom lock clean

help:  ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1 \t/p' $(MAKEFILE_LIST) | expand -t 22

demo: $(DEMO)/.ready  ## watch a guarded chain stop streamed answers: offline, on the CPU, without torch
	@$(DEMO)/bin/guardrail demo

test: $(TEST)/.ready  ## all tests; what CI runs
	$(PYTEST) -n $(JOBS) --dist worksteal -m "not campaign" $(PYTEST_ARGS)

test-fast: $(TEST)/.ready  ## the tests that take under a minute together
	$(PYTEST) -n $(JOBS) --dist worksteal -m "not slow and not campaign" $(PYTEST_ARGS)

campaign: $(TEST)/.ready  ## a soak of half an hour and 200 streams for ten minutes; SOAK_MINUTES=1 LOAD_MINUTES=1 shorten them
	$(PYTEST) -s -m campaign tests/campaign $(PYTEST_ARGS)

FUZZ_MINUTES ?= 1
# Names of harnesses in fuzz/; none takes all of them.
FUZZ_ONLY ?=

fuzz: $(FUZZ)/.ready  ## coverage-guided fuzzing, FUZZ_MINUTES=1 for each harness; FUZZ_ONLY="gate wire" takes some
	$(PYTEST_ENV) $(FUZZ)/bin/python -m fuzz.run --minutes $(FUZZ_MINUTES) $(FUZZ_ONLY)

check: lint types test wheel-test  ## everything a change must pass

lint: $(TEST)/.ready  ## formatting and lint rules
	$(TEST)/bin/ruff format --check .
	$(TEST)/bin/ruff check .

format: $(TEST)/.ready  ## rewrite the sources in the one format
	$(TEST)/bin/ruff check --fix .
	$(TEST)/bin/ruff format .

types: $(TEST)/.ready  ## types, strictly
	$(TEST)/bin/mypy --explicit-package-bases $(SOURCES)

style: $(TEST)/.ready  ## lengths, annotations and handlers, and every outlier with its reason
	$(TEST)/bin/python tools/style_table.py

# What the adapters import stands in the environment of the tests; the package itself is the wheel.
verify-types: $(VERIFY)/.ready wheel  ## types of the public API, as the users of the wheel see them
	$(VERIFY)/bin/python $(PIP_INSTALL) --no-deps --force-reinstall dist/*.whl
	cd $(TEST)/lib/python3*/site-packages && pwd > $(CURDIR)/$(VERIFY)/beside.pth
	mv $(VERIFY)/beside.pth $(VERIFY)/lib/python3*/site-packages/
	$(VERIFY)/bin/python -P tools/verify_types.py

wheel: $(TEST)/.ready  ## build dist/*.whl
	rm -rf build dist
	$(TEST)/bin/python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir dist .

# The sources must not be seen here: -P and another working directory keep them off sys.path.
wheel-test: wheel  ## install the wheel alone in a clean environment, run the demo and the packaging tests there
	rm -rf $(WHEEL)
	$(PYTHON) -m venv $(WHEEL)
	$(WHEEL)/bin/python $(PIP_LOCKED) -r constraints/demo.txt
	$(WHEEL)/bin/python $(PIP_INSTALL) --no-deps dist/*.whl
	$(WHEEL)/bin/python -m pip check --disable-pip-version-check
	cd $(WHEEL) && bin/guardrail demo --pace 0
	$(WHEEL)/bin/python $(PIP_LOCKED) -r constraints/wheel-test.txt
	$(WHEEL)/bin/python -P -m pytest --noconftest $(PACKAGING_TESTS)

optimum-test: $(OPTIMUM)/.ready  ## the tests of the export through Optimum, which needs an environment of its own
	$(PYTEST_ENV) $(OPTIMUM)/bin/python -m pytest tests/optimum $(PYTEST_ARGS)

# Ray's own warnings are not ours to mend; and without tests/conftest.py neither torch nor an exporter is needed.
ray-test: $(RAY)/.ready  ## the tests on Ray: scans on a cluster, replicas of the service
	$(PYTEST_ENV) $(RAY)/bin/python -m pytest -W default --confcutdir=tests/ray tests/ray $(PYTEST_ARGS)

# Phoenix' own warnings are not ours to mend.
otel-test: $(OTEL)/.ready  ## traces in a real backend, Arize Phoenix, beside the frameworks' own instrumentations
	$(PYTEST_ENV) $(OTEL)/bin/python -m pytest -W default --confcutdir=tests/phoenix tests/phoenix $(PYTEST_ARGS)

# The kernel's own warnings are not ours to mend.
notebook-test: $(NOTEBOOK)/.ready  ## run the notebook of examples/ in a kernel, with its plots
	$(PYTEST_ENV) $(NOTEBOOK)/bin/python -m pytest -W default --confcutdir=tests/notebook tests/notebook $(PYTEST_ARGS)

# No network is needed; what Sphinx warns of, a broken link or anchor among it, is an error.
SPHINX := $(DOCS)/bin/python -m sphinx --fail-on-warning --keep-going --fresh-env --doctree-dir build/doctrees

docs: $(DOCS)/.ready  ## build/docs: the pages of docs/ and a reference made from the code, as a site that needs no network
	rm -rf build/docs
	$(SPHINX) --quiet docs build/docs
	$(DOCS)/bin/python -m tools.check_site build/docs
	@echo "build/docs/index.html"

docs-links: $(DOCS)/.ready  ## ask every address outside that the documentation links to; needs a network
	$(SPHINX) --builder linkcheck docs build/docs-links

AUDIT_ARGS ?=

audit: $(SUPPLY)/.ready $(DEMO)/.ready $(TEST)/.ready  ## pins, licences, known vulnerabilities of what is installed
	$(SUPPLY)/bin/python -m tools.audit $(AUDIT_ARGS)

sbom: $(SUPPLY)/.ready $(DEMO)/.ready  ## dist/*.cdx.json: what the wheel brings, for CycloneDX tools
	$(SUPPLY)/bin/python -m tools.sbom

lock: $(LOCK)/.ready  ## write the pins in constraints/ anew
	$(LOCK)/bin/python tools/lock.py $(LOCK_ARGS)

clean:  ## remove environments, builds and caches
	rm -rf .venvs build dist docs/files docs/reference *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +

$(DEMO)/.ready: constraints/demo.txt pyproject.toml
	$(call fresh,$(DEMO))
	$(DEMO)/bin/python $(PIP_LOCKED) -r constraints/demo.txt
	$(DEMO)/bin/python $(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

$(TEST)/.ready: constraints/test.txt constraints/torch.txt pyproject.toml
	$(call fresh,$(TEST))
	$(TEST)/bin/python $(PIP_LOCKED) -r constraints/test.txt
	$(call torch,$(TEST))
	$(TEST)/bin/python $(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

$(OPTIMUM)/.ready: constraints/optimum.txt constraints/torch.txt pyproject.toml
	$(call fresh,$(OPTIMUM))
	$(OPTIMUM)/bin/python $(PIP_LOCKED) -r constraints/optimum.txt
	$(call torch,$(OPTIMUM))
	$(OPTIMUM)/bin/python $(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

$(RAY)/.ready: constraints/ray.txt pyproject.toml
	$(call fresh,$(RAY))
	$(RAY)/bin/python $(PIP_LOCKED) -r constraints/ray.txt
	$(RAY)/bin/python $(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

# For benchmarks/engines_compare.py: make .venvs/openvino/.ready
$(OPENVINO)/.ready: constraints/openvino.txt constraints/torch.txt pyproject.toml
	$(call fresh,$(OPENVINO))
	$(OPENVINO)/bin/python $(PIP_LOCKED) -r constraints/openvino.txt
	$(call torch,$(OPENVINO))
	$(OPENVINO)/bin/python $(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

# For benchmarks/service_load/run.py: make .venvs/load/.ready
$(LOAD)/.ready: constraints/load.txt
	$(call fresh,$(LOAD))
	$(LOAD)/bin/python $(PIP_LOCKED) -r constraints/load.txt
	@touch $@

$(OTEL)/.ready: constraints/otel.txt pyproject.toml
	$(call fresh,$(OTEL))
	$(OTEL)/bin/python $(PIP_LOCKED) -r constraints/otel.txt
	$(OTEL)/bin/python $(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

$(SUPPLY)/.ready: constraints/supply.txt
	$(call fresh,$(SUPPLY))
	$(SUPPLY)/bin/python $(PIP_LOCKED) -r constraints/supply.txt
	@touch $@

$(NOTEBOOK)/.ready: constraints/notebook.txt pyproject.toml
	$(call fresh,$(NOTEBOOK))
	$(NOTEBOOK)/bin/python $(PIP_LOCKED) -r constraints/notebook.txt
	$(NOTEBOOK)/bin/python $(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

$(DOCS)/.ready: constraints/docs.txt pyproject.toml
	$(call fresh,$(DOCS))
	$(DOCS)/bin/python $(PIP_LOCKED) -r constraints/docs.txt
	$(DOCS)/bin/python $(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

$(VERIFY)/.ready: constraints/verify-types.txt
	$(call fresh,$(VERIFY))
	$(VERIFY)/bin/python $(PIP_LOCKED) -r constraints/verify-types.txt
	@touch $@

# Where no wheel of atheris fits, pip builds it, which needs clang.
$(FUZZ)/.ready: constraints/fuzz.txt pyproject.toml
	$(call fresh,$(FUZZ))
	$(FUZZ)/bin/python $(PIP_LOCKED) -r constraints/fuzz.txt
	$(FUZZ)/bin/python $(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

$(LOCK)/.ready: Makefile
	$(call fresh,$(LOCK))
	$(LOCK)/bin/python $(PIP_INSTALL) uv==$(UV)
	@touch $@

# A half-made environment is never trusted: it is thrown away, and only a finished one is stamped.
define fresh
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or newer found. Install one, or name it: make PYTHON=/path/to/python ..." >&2; exit 1; }
	@echo "making $(1) with $$($(PYTHON) --version)"
	@rm -rf $(1) && $(PYTHON) -m venv $(1)
endef

# First whatever CPU build the configured index has (an offline mirror, say), then the one of TORCH_INDEX.
define torch
	@$(1)/bin/python $(PIP_INSTALL) torch==$(TORCH)+cpu 2>/dev/null || { \
		echo "torch: no CPU build on pip's index, trying $(TORCH_INDEX)"; \
		$(1)/bin/python $(PIP_INSTALL) --retries 1 --extra-index-url $(TORCH_INDEX) -r constraints/torch.txt; }
endef
