# What a person types. `make help` lists it. Everything is set up on first use and left alone afterwards.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help run test soak fast check conformance bench docs image cluster cluster-down manifests venv lock
PY := .venv/bin/python
PYTEST := .venv/bin/pytest
# The sandbox's part of uv.lock: what `sandbox_image.build` installs, and what a wheel carries.
EXPORT := export --quiet --frozen --no-dev --no-emit-project --no-header --no-annotate
SANDBOX := $(EXPORT) --extra sandbox --prune cronsim --prune pydantic --prune pyyaml --prune tzdata
# The controller's part: what `controller.image.build` installs.
CONTROLLER := $(EXPORT) --extra server --extra kubernetes
# Without the notice of its makers about the time after 2027.
MKDOCS = NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs
# Never --quiet: it counts no warning then, and nothing is strict.
SITE = $(MKDOCS) build --strict
UV = $$(tools/setup.sh uv)
IMAGES = $(PY) -m sandbox_image.build --if-missing && $(PY) -m controller.image.build --if-missing

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 16

run: venv ## the controller on 127.0.0.1:8000 with the example plugins; Ctrl-C stops all it started
	@! docker info >/dev/null 2>&1 || $(PY) -m sandbox_image.build --if-missing || echo 'going on without Docker' >&2
	@XCORE_ON_EXIT=stop XCORE_PLUGINS_DIR=examples XCORE_STATE_DIR=.state XCORE_TRUSTED='["clock"]' \
		exec .venv/bin/xcore serve

test: venv ## all tests, with whatever they need (as root on Debian it is installed and started)
	@tools/setup.sh registry
	@tools/setup.sh postgres
	@tools/setup.sh cluster
	@tools/setup.sh with-docker sh -c '$(IMAGES) && exec $(PYTEST) -n 2 $(ARGS)'

soak: venv ## the tests that take minutes: a thousand plugins, a lost node, ten minutes without the API server
	@tools/setup.sh cluster
	@tools/setup.sh with-docker sh -c '$(IMAGES) && exec $(PYTEST) -m soak -s $(ARGS)'

fast: venv ## the kernel's tests without an engine (< 60 s), and their line coverage outside runtimes/ (≥ 95 %)
	@$(PYTEST) -m 'not docker' --cov=xcore --cov-report= tests/xcore tests/sandbox_image examples --xcore-runtime=process $(ARGS)
	@.venv/bin/coverage report --include='xcore/*' --omit='xcore/runtimes/*' --skip-covered --fail-under=95

check: venv ## static checks: format, lint, types, layers, Dockerfile, lock, documentation
	@.venv/bin/ruff format --check --quiet . || { echo 'not formatted: .venv/bin/ruff format .' >&2; exit 1; }
	@.venv/bin/ruff check --quiet .
	@.venv/bin/mypy
	@.venv/bin/lint-imports
	@.venv/bin/hadolint sandbox_image/Dockerfile controller/image/Dockerfile examples/containers/whoami/Dockerfile
	@$(UV) $(SANDBOX) | diff -u sandbox_image/requirements.txt - || { echo 'not of uv.lock: make lock' >&2; exit 1; }
	@$(UV) $(CONTROLLER) | diff -u controller/image/requirements.txt - || { echo 'not of uv.lock: make lock' >&2; exit 1; }
	@said=$$($(SITE) 2>&1) || { echo "$$said" >&2; exit 1; }

conformance: venv ## one suite of promises on every runtime, and docs/conformance.md with what came out
	@tools/setup.sh with-docker sh -c '$(IMAGES) && exec $(PY) docs/promises.py'

docs: venv ## the documentation as a site, in site/ and on 127.0.0.1:8001; Ctrl-C stops it
	@$(SITE)
	@$(MKDOCS) serve --dev-addr 127.0.0.1:8001

bench: venv ## measurements, as ratios against a peer taken in the same run
	@tools/setup.sh tools
	@tools/setup.sh with-docker sh -c '$(PY) -m sandbox_image.build --if-missing && exec $(PY) -m bench $(ARGS)'

image: venv ## the images of sandboxes and of the controller (BASE_IMAGE names another base)
	@$(PY) -m sandbox_image.build
	@$(PY) -m controller.image.build

# Stdout is for the shell: eval "$(make -s cluster)" gives kubectl and helm.
cluster: venv ## a Kubernetes for tests with the project's images: eval "$(make -s cluster)" gives kubectl and helm
	@tools/setup.sh cluster >&2
	@tools/setup.sh with-docker sh -c '{ $(IMAGES); } >&2 && exec $(PY) -m tests.cluster up'

cluster-down: venv ## the end of that Kubernetes
	@$(PY) -m tests.cluster down

manifests: venv ## install.yaml and the chart's definitions, from chart and models
	@PATH="$$($(PY) -c 'from tests.cluster import build; print(build.programs() / "path")'):$$PATH" $(PY) -m manifests.render

lock: venv ## uv.lock from pyproject.toml, and the images' parts of it
	@$(UV) lock
	@$(UV) $(SANDBOX) >sandbox_image/requirements.txt
	@$(UV) $(CONTROLLER) >controller/image/requirements.txt

venv: ## the command `xcore` and all it needs, in .venv
	@tools/setup.sh venv
