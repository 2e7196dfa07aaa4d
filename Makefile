# The two commands: `make demo` shows it work, `make test` proves it. Each makes .venv when it is missing or old.
# While writing: `make check`. Before a release, or when a room that it proves changed: `make test-all`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PYTEST_ARGS ?=
JOBS ?= 4
SEEDS ?= 1000
FROM ?= 0
NEMESIS ?= 2-11
VERSION := $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' stream_scrub/__init__.py)
IMAGE ?= stream-scrub:$(VERSION)
IMAGE_BUILD ?= $(shell if command -v buildah; then echo bud; elif command -v docker; then echo build; fi)
IMAGE_ARGS ?=
BENCH_ARGS ?=
ABUSE_ARGS ?=
SANITIZE_ARGS ?=
DIST ?= dist
SBOM ?= dist/stream-scrub-$(VERSION).cdx.json

# Without bytecode every process of a test run compiles everything again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-all check lint simulate sanitize nemesis diallers bench bench-file bench-lists bench-http soak abuse dist image pin sbom tables holidays lock clean

.venv: $(VENV)/.made

# Hash-pinned, then the project itself without its index-resolved dependencies: what runs is exactly what was locked.
# .made has what the tests need; .runs, which the demo makes where there is no .made, a third of it.
$(VENV)/.made: requirements/dev.txt
$(VENV)/.runs: requirements/run.txt requirements/build.txt
$(VENV)/.made $(VENV)/.runs: pyproject.toml $(wildcard native/*.toml native/*.px* native/*.h) native/plugin.c
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "stream_scrub needs Python 3.11 or newer: make PYTHON=python3.12"; exit 1; }
	@echo "making $(VENV): downloading and installing $$(cat $(filter requirements/%,$^) | grep -c '==') packages, a minute or two; once"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --disable-pip-version-check --require-hashes $(patsubst %,-r %,$(filter requirements/%,$^))
	@echo "installing stream_scrub and its optional extension"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation ./native \
		|| echo "the optional extension could not be built (it needs a C compiler and Python's headers): going on in Python, slower"
	@touch $@

demo: $(or $(wildcard $(VENV)/.made),$(VENV)/.runs)
	@$(BIN)/stream-scrub demo

# Two processes for each core: most of these tests wait. With three, slow cores do less: waits run out. CONTRIBUTING.md
# says which promise each of the rings check, test and test-all proves.
test: $(VENV)/.made
	$(BIN)/python -m pytest -n $(JOBS) -m "not slow" $(PYTEST_ARGS)

# Everything. ROOM=kafka runs the tests of that folder of stream_scrub/, without the sanitizers and the long histories.
test-all: $(VENV)/.made
	STREAM_SCRUB_TEST_ALL=1 $(BIN)/python -m pytest -n $(JOBS) $(if $(ROOM),--room $(ROOM)) $(PYTEST_ARGS)
ifndef ROOM
	$(MAKE) sanitize SANITIZE_ARGS="--records 100000 --moves 5000"
	$(MAKE) simulate SEEDS=100000 SIMULATE_ARGS="--seconds 300"
endif

# What needs neither a broker nor a process of its own, and the linters.
check: lint
	$(BIN)/python -m pytest -n auto -m "not slow and not process" tests/unit tests/property tests/arch $(PYTEST_ARGS)

lint: $(VENV)/.made
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Histories of workers and publishers on a model of Kafka, from seed FROM on, until one breaks a promise.
simulate: $(VENV)/.made
	@$(BIN)/python -m tests.simulation --seeds $(SEEDS) --from $(FROM) $(SIMULATE_ARGS)

# The extension under AddressSanitizer and UndefinedBehaviorSanitizer (gcc): ten million odd records and a hundred thousand
# seeks, pauses and assignments, half an hour on a quiet machine. SANITIZE_ARGS="--records 100000 --moves 5000" takes two minutes.
sanitize: $(VENV)/.made
	$(BIN)/python -m tests.sanitized $(SANITIZE_ARGS)

# Three real brokers that are cut off from each other, killed and paused, by the seeds NEMESIS=2-11, two minutes each.
nemesis: $(VENV)/.made
	STREAM_SCRUB_TEST_SEEDS=$(NEMESIS) $(BIN)/python -m pytest -s tests/cluster/test_nemesis.py $(PYTEST_ARGS)

# Three diallers of one group with acknowledgements, recalls and rebalances, ten minutes at 50 and at 5,000 leads a second.
diallers: $(VENV)/.made
	STREAM_SCRUB_TEST_DIALLERS_S=600 $(BIN)/python -m pytest -s tests/chaos/test_diallers.py $(PYTEST_ARGS)

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

# What a release publishes: sdist and wheel of the product and of the extension, and the wheel of the rules alone. Its wheel is of the Python that makes it:
# one more for each other, into the same folder, with VENV=.cache/python3.13 PYTHON=python3.13.
dist: $(VENV)/.made
	@mkdir -p $(DIST)
	$(BIN)/python -m hatchling build -d $(DIST)
	rm -rf build/rules && mkdir -p build/rules/stream_scrub_rules
	cp stream_scrub/rules/*.toml stream_scrub/rules/edition.txt build/rules/stream_scrub_rules/
	touch build/rules/stream_scrub_rules/__init__.py
	cp LICENSE build/rules/ && cp tools/rules_package.toml build/rules/pyproject.toml
	cd build/rules && $(abspath $(BIN))/python -m hatchling build -t wheel -d $(abspath $(DIST))
	cd native && $(abspath $(BIN))/python -c 'import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])' $(abspath $(DIST))
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-index --no-deps --no-build-isolation --wheel-dir $(DIST) ./native

# IMAGE_BUILD is the builder and its command, IMAGE_ARGS what it is told besides (docs/image.md).
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
	@mkdir -p $(dir $(SBOM)) build
	cat requirements/run.txt requirements/protobuf.txt > build/image.txt
	$(BIN)/cyclonedx-py requirements --output-reproducible --spec-version 1.6 --output-format JSON --pyproject pyproject.toml \
		--index-url pkg:pypi --output-file $(SBOM) build/image.txt

# Package data, generated from the metadata of phonenumbers and Babel, and the report's catalogues: run after every new
# phonenumbers and every change of the report's text, commit the result.
tables: $(VENV)/.made
	$(BIN)/python -m tools.numbering_tables
	$(BIN)/python -m tools.zones_table
	$(BIN)/python -m tools.region_names
	$(BIN)/python -m tools.catalogues

# The days of rules with hours, from the library `holidays`: read the difference before you commit it.
holidays: $(VENV)/.made
	$(BIN)/python -m pip install --quiet --require-hashes --upgrade --target build/holidays -r requirements/holidays.txt
	PYTHONPATH=build/holidays $(BIN)/python -m tools.holidays_table

# Needs uv on the PATH. Hashes, no index address.
lock:
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header pyproject.toml -o requirements/run.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --extra dev --no-emit-package stream-scrub pyproject.toml -o requirements/dev.txt
	printf '%s\n' cython editables hatchling setuptools | uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --constraints requirements/dev.txt - -o requirements/build.txt
	printf '%s\n' grpcio-tools | uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --constraints requirements/dev.txt --no-emit-package grpcio --no-emit-package protobuf --no-emit-package setuptools --no-emit-package typing-extensions - -o requirements/protobuf.txt

clean:
	rm -rf .venv dist build native/build native/*.egg-info native/stream_scrub_native.c .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis bench/.cache tests/kafka/libs tests/kafka/target
