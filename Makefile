# Two commands on a fresh machine with Python >= 3.10 do everything: `make fit` and `make test`.
#   make fit     set up .venv, then train configs/tiny/qvka.yaml on the built-in corpus
#   make test    set up .venv, then lint, format, types and all tests
#   make check   the quick part of it, for every save: neither slow nor integration
#   make smoke   a few steps of the real command
#   make bench   set up .venv and the peers' environments, then measure speed into results/speed/
#   make clean   remove .venv and caches; runs/ stays
# Another interpreter: `make fit PYTHON=python3.12`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# constraints-oldest.txt has the oldest versions that pyproject.toml declares.
CONSTRAINTS ?= constraints.txt
READY := $(VENV)/ready

.DEFAULT_GOAL := help
.PHONY: help fit test check lint style smoke bench peers clean

help:
	@sed -n 's/^#   //p' Makefile

fit: $(READY)
	$(BIN)/qvbench fit --config tiny/qvka.yaml

# One process a core with one thread each; mypy runs beside them, and either's failure is make's.
define run-tests
@$(BIN)/mypy > $(VENV)/mypy.log 2>&1 & types=$$!; \
  OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --maxprocesses 4 --dist worksteal $(1); tests=$$?; \
  wait $$types; types=$$?; echo "mypy: $$(cat $(VENV)/mypy.log)"; exit $$((tests | types))
endef

test: style
	$(call run-tests)

check: style
	$(call run-tests,-m "not slow and not integration")

lint: style
	$(BIN)/mypy

style: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# The real command on the smallest config, for a few steps, in a folder that goes away.
smoke: $(READY)
	@folder=$$(mktemp -d) && $(BIN)/qvbench fit --config tiny/qv.yaml --trainer.max_steps 5 \
	  --trainer.val_check_interval 5 --trainer.limit_val_batches 2 \
	  --trainer.default_root_dir $$folder; status=$$?; rm -rf $$folder; exit $$status

# A peer whose environment cannot be made is left out, and the results say so. One case or group:
# `make bench BENCH="--only training"`.
bench: $(READY)
	-$(MAKE) peers
	$(BIN)/python -m benchmarks $(BENCH)

# OpenNMT-py asks for an older PyTorch: it comes without its own list, into an environment of its
# own, by one installation a line; spacy stands in for an import that is never used.
peers: .peers/opennmt/ready
.peers/opennmt/ready: benchmarks/peers/opennmt.txt
	rm -rf $(@D)
	$(PYTHON) -m venv $(@D)
	while read -r packages; do \
	  $(@D)/bin/python -m pip install --quiet -c constraints.txt $$packages || exit 1; done < $<
	touch "$$(echo $(@D)/lib/python3*/site-packages)/spacy.py"
	cp $< $@

# torch comes first and alone, so that its pinned build is settled before anything asks for torch.
$(READY): pyproject.toml $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "qvbench needs Python 3.10 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1)." \
	    "Name another: make $(or $(MAKECMDGOALS),test) PYTHON=python3.12" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c $(CONSTRAINTS) torch
	$(BIN)/python -m pip install --quiet -c $(CONSTRAINTS) hatchling editables
	$(BIN)/python -m pip install --quiet -c $(CONSTRAINTS) --no-build-isolation -e '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
