# Evenkeel: what is done often, by name. `make` alone lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

CHECK := /usr/bin/python3 tools/check_all.py
PREFIX ?= /usr/local
PORT ?= 8000
GRPC_PORT ?= 8001
METRICS_PORT ?= 8002
FUZZ_SECONDS ?= 60
export EVENKEEL_CACHE ?= $(HOME)/.cache/evenkeel

.PHONY: help setup build models run cluster-demo cluster-faults openai-tour llm-bad-input test test-long lint format asan tsan fuzz coverage install clean

help: ## list the targets
	@echo "Targets (make NAME):"
	@sed -n 's/^\([a-z%-]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 14
	@echo "Settings (make NAME X=...): PORT, GRPC_PORT, METRICS_PORT, ONCE=1 (run); JOBS (build); FUZZ_SECONDS; MINUTES, PEERS, PEERS_TOOLS (bench-batching); FIGURES (bench-llm); PREFIX, DESTDIR; EVENKEEL_CACHE"

setup: ## install the Debian packages that are missing (sudo when not root)
	@tools/setup.sh

build: setup ## compile into build/ (the program is build/evenkeel)
	@tools/setup_build.sh release

models: setup ## make the demo models in build/demo-models
	@models/make.sh build/demo-models

run: build models ## serve the demo models and ask one about README.md; ONCE=1 stops after the answer
	@PORT=$(PORT) GRPC_PORT=$(GRPC_PORT) METRICS_PORT=$(METRICS_PORT) ONCE=$(ONCE) models/run_demo.sh build/evenkeel build/demo-models

cluster-demo: build models ## four unequal nodes on this machine: load, a node lost, what happened (root)
	@/usr/bin/python3 tools/cluster_demo.py build/evenkeel build/demo-models

cluster-faults: build models ## each fault that a cluster bears: what was injected, what was observed (root)
	@"$$(tools/setup_venv.sh tools/requirements-tests.txt)/bin/python" -m pytest tests/cluster/test_cluster_faults.py -q -s --timeout 300

openai-tour: build models ## the unmodified openai package, call by call, and an error of each class: what came
	@"$$(tools/setup_venv.sh tools/requirements-tests.txt)/bin/python" tests/conformance/openai_tour.py

llm-bad-input: build models ## what a language model is asked by the careless and the hostile: status and message of each, and what others noticed
	@"$$(tools/setup_venv.sh tools/requirements-tests.txt)/bin/python" tests/conformance/llm_bad_input.py

test: build models ## all that must pass before a commit: layers, format, unit and Python tests
	@$(CHECK)

test-long: test asan tsan fuzz ## also sanitizers, fuzzing, soaks, and clang-tidy of every file
	@$(CHECK) --only python-long,tidy --all

lint: build ## format and clang-tidy of the files that differ from HEAD; ALL=1 for every file
	@$(CHECK) --only layers,format,tidy $(if $(ALL),--all) $(if $(BASE),--base $(BASE))

format: setup ## format the sources in place
	@git ls-files -z --cached --others --exclude-standard -- '*.cc' '*.h' | xargs -0 -r clang-format-14 -i

asan: setup models ## unit and integration tests under AddressSanitizer and UBSan
	@tools/setup_build.sh asan
	@$(CHECK) --only unit,python --build build/asan

tsan: setup models ## unit and integration tests under ThreadSanitizer
	@tools/setup_build.sh tsan
	@$(CHECK) --only unit,python --build build/tsan

fuzz: setup ## run every fuzz target for FUZZ_SECONDS
	@tools/setup_build.sh fuzz fuzzers
	@$(CHECK) --only fuzz --build build/fuzz --fuzz-seconds $(FUZZ_SECONDS)

coverage: setup ## unit tests with coverage; raw data in build/coverage
	@tools/setup_build.sh coverage
	@$(CHECK) --only unit --build build/coverage

bench-%: build models ## run bench/NAME.py or bench/NAME.sh; results in build/bench/NAME.json
	@mkdir -p build/bench
	@if [ -f bench/$*.py ]; then "$$(tools/setup_venv.sh tools/requirements-tests.txt)/bin/python" bench/$*.py; \
	elif [ -f bench/$*.sh ]; then bench/$*.sh; \
	else echo "no bench/$*.py or bench/$*.sh" >&2; exit 2; fi

install: build ## install a tree that can be moved, under PREFIX (default /usr/local)
	@cmake --install build --prefix "$(DESTDIR)$(PREFIX)"

clean: ## remove build/; the cache stays
	rm -rf build
