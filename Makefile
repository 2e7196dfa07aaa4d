# The two commands: `make demo` shows it work, `make test` proves it. Each makes .venv when it is missing or old.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PYTEST_ARGS ?=
SEEDS ?= 1000
FROM ?= 0
VERSION := $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' stream_scrub/__init__.py)
IMAGE ?= stream-scrub:$(VERSION)
IMAGE_BUILD ?= $(shell if command -v buildah; then echo bud; elif command -v docker; then echo build; fi)
IMAGE_ARGS ?=
BENCH_ARGS ?=
ABUSE_ARGS ?=
DIST ?= dist
SBOM ?= dist/stream-scrub-$(VERSION).cdx.json

.PHONY: demo test lint simulate bench bench-file bench-lists bench-http soak abuse dist image pin sbom tables lock clean

.venv: $(VENV)/.made

# Hash-pinned, then the project itself without its index-resolved dependencies: what runs is exactly what was locked.
$(VENV)/.made: requirements/dev.txt pyproject.toml $(wildcard native/*.toml native/*.pyx) native/plugin.c
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "stream_scrub needs Python 3.11 or newer: make PYTHON=python3.12"; exit 1; }
	@echo "making $(VENV)"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation ./native \
		|| echo "the optional extension could not be built (it needs a C compiler and Python's headers): going on in Python, slower"
	@touch $@

demo: $(VENV)/.made
	@$(BIN)/stream-scrub demo

# Two processes, module by module, in the order of the folders: what kills and waits first, what computes last, so that
# both end together. What promises a time waits until it is alone (tests/conftest.py).
test: $(VENV)/.made
	$(BIN)/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder $(PYTEST_ARGS)

lint: $(VENV)/.made
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Histories of workers and publishers on a model of Kafka, from seed FROM on, until one breaks a promise.
simulate: $(VENV)/.made
	@$(BIN)/python -m tests.simulation --seeds $(SEEDS) --from $(FROM) $(SIMULATE_ARGS)

# BENCH_ARGS=--small tries it in two minutes; bench/README.md has the other options and the other benches.
bench: $(VENV)/.made
	$(BIN)/python -m bench $(BENCH_ARGS)

# A file of leads scrubbed, beside the csv module's copy: BENCH_ARGS='--rows 100000 20000000' for the memory of large ones.
bench-file: $(VENV)/.made
	$(BIN)/python -m bench.offline.files $(BENCH_ARGS)

bench-lists: $(VENV)/.made
	$(BIN)/python -m bench.under_load.large_registers

# The check API under a constant rate, also while lists change. It builds its load generator with go.
bench-http: $(VENV)/.made
	$(BIN)/python -m bench.under_load.check_api $(BENCH_ARGS)

soak: $(VENV)/.made
	$(BIN)/python -m bench.under_load.soak

# Hostile lists, leads, requests and connections at once against a running system: ABUSE_ARGS='--minutes 10 --json'.
abuse: $(VENV)/.made
	$(BIN)/python -m bench.under_load.abuse $(ABUSE_ARGS)

# What a release publishes: sdist and wheel of the product, and of the extension. Its wheel is of the Python that makes it:
# one more for each other, into the same folder, with VENV=.cache/python3.13 PYTHON=python3.13.
dist: $(VENV)/.made
	@mkdir -p $(DIST)
	$(BIN)/python -m hatchling build -d $(DIST)
	cd native && $(abspath $(BIN))/python -c 'import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])' $(abspath $(DIST))
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-index --no-deps --no-build-isolation --wheel-dir $(DIST) ./native

# IMAGE_BUILD is the builder and its command, IMAGE_ARGS what it is told besides (docs/operator.md, "The image").
image:
	@test -n "$(IMAGE_BUILD)" || { echo "make image needs buildah or docker (Debian: apt-get install buildah), or its like as IMAGE_BUILD='podman build'"; exit 1; }
	$(IMAGE_BUILD) --file Containerfile --tag $(IMAGE) --build-arg VERSION=$(VERSION) \
		--build-arg REVISION=$$(git rev-parse HEAD 2>/dev/null || echo unknown) $(IMAGE_ARGS) .

# Every image that is named here, by its digest of today; needs skopeo or docker, and a way to the registry.
pin:
	@$(PYTHON) .ci/pin.py

# What is in the image and in every other installation, with the hashes that are accepted. The same bytes for the same
# requirements; the "index" makes cyclonedx-py name packages by their purl instead of an address to fetch them from.
sbom: $(VENV)/.made
	@mkdir -p $(dir $(SBOM))
	$(BIN)/cyclonedx-py requirements --output-reproducible --spec-version 1.6 --output-format JSON --pyproject pyproject.toml \
		--index-url pkg:pypi --output-file $(SBOM) requirements/run.txt

# Package data, generated from phonenumbers' own metadata: run after every new phonenumbers, commit the result.
tables: $(VENV)/.made
	$(BIN)/python -m stream_scrub.numbering.generate

# Needs uv on the PATH. Hashes, no index address.
lock:
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header pyproject.toml -o requirements/run.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --extra dev --no-emit-package stream-scrub pyproject.toml -o requirements/dev.txt
	printf '%s\n' cython hatchling setuptools | uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --constraints requirements/dev.txt - -o requirements/build.txt

clean:
	rm -rf .venv dist build native/build native/*.egg-info native/stream_scrub_native.c .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis bench/.cache tests/kafka/libs
