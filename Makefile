# The targets of this project. `make help` lists them.

SHELL := /bin/sh
.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules
V ?= 0
ifneq ($(V),1)
.SILENT:
endif

PYTHON ?= python3
KERNELS ?= bullseye bookworm trixie sid
# Beside and between those: tests/kernels/images.py. `make soak` asks of each whether what it is offered is sound.
OTHER_KERNELS ?= bookworm-rt bookworm-full trixie-rt trixie-full backports-6.16 backports-6.18 backports-6.18-none \
	backports-6.19 backports-7.3 backports-7.3-rt
SECONDS ?= 600
# Guests side by side; each keeps a core busy or more.
JOBS ?= 2
# Besides the one that `make build` finds: the oldest and the newest others that Debian 12 has, and Debian 13's own.
# tests/native/ground.py
COMPILERS := clang-16 clang-19 clang-22
export PYTHON
# Tests run as root through sudo as well; nothing they leave behind may be in the user's way.
export PYTHONDONTWRITEBYTECODE := 1

# Probes need root; nothing else does.
ifneq ($(shell id -u),0)
SUDO := sudo --preserve-env=AA_FILEIO_REQUIRE,PYTHONDONTWRITEBYTECODE
endif

BIN := .venv/bin
REPORTS := build/reports
SOURCES := $(filter-out %.skel.h,$(wildcard bpf/*.[ch] csrc/*/*.[ch])) setup.py pyproject.toml
C_FILES := $(filter-out %.skel.h,$(wildcard bpf/*.[ch] csrc/*/*.[ch] tests/core/*.[ch] tests/fuzz/*.[ch] tests/soak/*.[ch] tests/native/shims/*.[ch] benchmarks/*.[ch]))
SHELL_FILES := .ci/run $(wildcard scripts/*.sh tests/kernels/*.sh examples/*.sh)
PYTEST := $(BIN)/python -m pytest -p no:cacheprovider

.PHONY: help
help: ## list the targets
	sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' Makefile | expand -t 18

.PHONY: demo
demo: build ## build, then trace a small job on this machine's kernel
	$(SUDO) sh examples/demo.sh

.PHONY: build
build: .venv/.built ## build the extension in place, into .venv

# A tree may come with stamps that say what is not so: a copy of another one, or of one whose Python has gone.
ifneq ($(shell scripts/venv_usable.sh && echo usable),usable)
.venv/.packages: FORCE
.PHONY: FORCE
FORCE:
endif

# One stamp for each set of packages, so that the demo does not wait for the linters.
.venv/.packages: pyproject.toml scripts/venv.sh scripts/setup.sh
	scripts/setup.sh build
	echo "making .venv"
	scripts/venv.sh
	touch $@

.venv/.packages-%: .venv/.packages
	scripts/venv.sh $*
	touch $@

.venv/.built: .venv/.packages $(SOURCES)
	echo "building the extension"
	scripts/setup.sh build
	$(BIN)/python -m pip install -qq --disable-pip-version-check --no-build-isolation --no-deps --editable .
	$(BIN)/python scripts/stack.py --if-any aa_fileio/_native*.so
	touch $@

.PHONY: build-compilers
build-compilers: $(COMPILERS:%=build/%/.built) ## the extension by other compilers, each in build/COMPILER, for tests

# Where a distribution has no such compiler, the tests by it say so.
build/clang-%/.built: .venv/.packages $(SOURCES)
	if command -v clang-$* >/dev/null; then \
		echo "building the extension with clang-$*"; \
		AA_FILEIO_CLANG=clang-$* PYTHONDONTWRITEBYTECODE= $(BIN)/python setup.py -q build --build-base build/clang-$* \
			--build-temp build/clang-$*/temp --build-lib build/clang-$*/lib && \
		$(BIN)/python scripts/stack.py --if-any build/clang-$*/lib/aa_fileio/_native*.so && touch $@; \
	else \
		echo "there is no clang-$*: not built with it"; \
	fi

# The least that a tracer can do, and the calls that are counted: benchmarks/, for guests too, which have no time to compile.
build/floor/.built: .venv/.built $(wildcard benchmarks/*.[ch]) benchmarks/workload.py
	mkdir -p build/floor
	$(BIN)/python -m benchmarks.bench --build build/floor
	touch $@

.PHONY: test
test: ## set up, then every tier of tests, guests included
	scripts/setup.sh build test kernels lint
	$(MAKE) --no-print-directory build .venv/.packages-test .venv/.packages-lint
	AA_FILEIO_REQUIRE=1 MAKE='$(MAKE)' scripts/test.sh lint test-unit test-native -- test-kernels

.PHONY: test-unit
test-unit: build .venv/.packages-test ## unit and contract tests, of the C core (plain and by sanitizers) and of Python; no privilege
	scripts/setup.sh build test
	mkdir -p $(REPORTS)
	{ $(MAKE) --no-print-directory -C tests/core && $(MAKE) --no-print-directory -C tests/core SANITIZE=1 && \
		$(MAKE) --no-print-directory -C tests/fuzz; } \
		>$(REPORTS)/test-unit-core.log 2>&1; core=$$?; \
		cat $(REPORTS)/test-unit-core.log; \
		$(PYTEST) tests/python tests/contract tests/kernels --junitxml=$(REPORTS)/test-unit.xml; python=$$?; \
		$(PYTEST) tests/consumers --junitxml=$(REPORTS)/test-unit-consumers.xml && exit $$((core | python))

.PHONY: test-native
test-native: build .venv/.packages-test ## real probes on this machine's kernel (root)
	scripts/setup.sh test
	$(MAKE) --no-print-directory -j2 build-compilers
	$(SUDO) $(PYTEST) tests/native --junitxml=$(REPORTS)/test-native.xml

.PHONY: test-kernels
test-kernels: build .venv/.packages-test ## real probes on Debian's kernels in emulated machines: KERNELS="bullseye sid" JOBS=2
	scripts/setup.sh kernels test
	$(MAKE) --no-print-directory build/floor/.built
	$(BIN)/python -m tests.native.workload_programs
	$(BIN)/python -m tests.kernels.guest test --suites "$(KERNELS)" --jobs $(JOBS)

.PHONY: lint
lint: .venv/.packages-lint .venv/.packages-test ## formatters and checkers, which change nothing
	scripts/setup.sh build lint
	$(BIN)/ruff check --no-cache .
	$(BIN)/ruff format --no-cache --check .
	$(BIN)/mypy --strict --explicit-package-bases aa_fileio tests/kernels scripts benchmarks
	clang-format --dry-run --Werror $(C_FILES)
	scripts/tidy.sh
	shellcheck $(SHELL_FILES)

.PHONY: format
format: .venv/.packages-lint ## let the formatters change the sources
	scripts/setup.sh lint
	$(BIN)/ruff check --no-cache --fix .
	$(BIN)/ruff format --no-cache .
	clang-format -i $(C_FILES)

.PHONY: sanitize
sanitize: ## only the C core's unit tests under the address and undefined-behaviour sanitizers
	scripts/setup.sh build test
	$(MAKE) --no-print-directory -C tests/core SANITIZE=1

.PHONY: fuzz
fuzz: .venv/.packages ## libFuzzer on the decoder, the path rules and the BTF reader: SECONDS=60 each
	scripts/setup.sh build fuzz
	$(MAKE) --no-print-directory -C tests/fuzz fuzz coverage SECONDS=$(if $(filter file,$(origin SECONDS)),60,$(SECONDS))

.PHONY: soak
soak: build .venv/.packages-test ## fuzzers, sanitizers, every failure, every guest, then here over and over: SECONDS=600 (root)
	scripts/setup.sh build test fuzz soak kernels
	$(MAKE) --no-print-directory -j2 build-compilers
	$(MAKE) --no-print-directory build/floor/.built
	SUDO='$(SUDO)' MAKE='$(MAKE)' KERNELS='$(KERNELS)' OTHER_KERNELS='$(OTHER_KERNELS)' JOBS=$(JOBS) SECONDS_OF_ROUNDS=$(SECONDS) scripts/soak.sh

.PHONY: bench
bench: build .venv/.packages-test ## what tracing costs, beside the least possible and other tools: benchmarks/RESULTS.md (root)
	scripts/setup.sh build test kernels bench
	$(SUDO) $(BIN)/python -m benchmarks.bench --write benchmarks/RESULTS.md

.PHONY: wheel
wheel: .venv/.packages ## a wheel, in dist/
	scripts/setup.sh build
	$(BIN)/python -m pip wheel -qq --disable-pip-version-check --no-build-isolation --no-deps --wheel-dir dist .
	ls dist/*.whl

.PHONY: clean
clean: ## remove everything that was built; fetched kernels are kept in the user's cache
	rm -rf .venv build dist *.egg-info aa_fileio/*.so csrc/core/*.skel.h
	find . -name .git -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
	if [ -e tests/core/Makefile ]; then $(MAKE) --no-print-directory -C tests/core clean; fi
