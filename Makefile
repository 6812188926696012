# Short names for .ci/check.py, which holds the commands. `make check PYTHON=.venv/bin/python` uses another Python.
PYTHON ?= python

.PHONY: help setup format check-static check-fast check check-slow screenshots

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup:  ## install the project and its tools into the Python in use
	$(PYTHON) -m pip install -e '.[dev]'

format:  ## write what check-static asks for, where a tool can
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

check-static:  ## format, lint, types, import rules
	$(PYTHON) .ci/check.py static

check-fast:  ## unit tests: under a minute
	$(PYTHON) .ci/check.py fast

check:  ## what CI runs: static checks and every test that is not marked slow
	$(PYTHON) .ci/check.py all

check-slow:  ## tests marked slow: under an hour
	$(PYTHON) .ci/check.py slow

screenshots:  ## take the README's pictures of the dashboard anew, from a real run: needs chromium
	$(PYTHON) -m benchmarks.screenshots
