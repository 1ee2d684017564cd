# make demo   sets up, tunes the embedded model on the sample tweets, evaluates it, says where the report is
# make test   sets up and runs the tests
# make thorough  runs those that take long: kills at every moment, simulations, several processes, quantised families
# make setup  only sets up: .venv with all that is needed
# make serve  opens the demo in a browser
# make check  formatting, lint and types
# On Linux without a GPU, TORCH_BACKEND=cpu make demo saves 3 GB of CUDA libraries.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
UV := $(BIN)/uv pip install --quiet --python $(BIN)/python $(if $(TORCH_BACKEND),--torch-backend=$(TORCH_BACKEND))
# uv does not read pip's settings; who keeps wheels in a folder has told pip.
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
ifdef PIP_INDEX_URL
export UV_DEFAULT_INDEX ?= $(PIP_INDEX_URL)
endif
# Without cached bytecode every command would spend ten seconds more on imports.
unexport PYTHONDONTWRITEBYTECODE

DATASET := data/prepared/sample
RUN := data/runs/sample
REPORT := reports/sample

.PHONY: demo serve setup test thorough check clean
.DELETE_ON_ERROR:

demo: $(REPORT)/manifest.json
	@echo "The report: $(REPORT)/report.html    The demo to type into: make serve"

setup: $(READY)
	@echo "Set up. Next: source $(BIN)/activate"

serve: $(RUN)/manifest.json
	$(BIN)/python app.py --run $(RUN)

PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test: $(READY)
	$(PYTEST)

thorough: $(READY)
	$(PYTEST) -m thorough

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# The three commands of the main job. A folder without a manifest was left by a run that was stopped: a training goes
# on, what is quick begins again.
$(DATASET)/manifest.json: $(READY) data/sample/btc_tweets.csv
	rm -rf $(DATASET)
	$(BIN)/python -m pipeline.prepare --source data/sample/btc_tweets.csv --out $(DATASET)

$(RUN)/manifest.json: $(DATASET)/manifest.json
	test ! -e $@ || rm -rf $(RUN)
	$(BIN)/python -m pipeline.train --dataset $(DATASET) --out $(RUN) --resume

$(REPORT)/manifest.json: $(RUN)/manifest.json
	rm -rf $(REPORT)
	$(BIN)/python -m pipeline.evaluate --run $(RUN) --out $(REPORT)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed, this is " + sys.version.split()[0] + "; set PYTHON=")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(UV) -c constraints.txt --group dev -e .
	touch $@

clean:
	rm -rf $(VENV) $(DATASET) $(RUN) $(REPORT)
