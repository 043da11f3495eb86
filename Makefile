# make stack   installs everything into .venv and runs robot, policy and status view over ROS 2
# make test    installs the same and runs all tests
# ARGS are passed on: make stack ARGS="--episodes 2", make test ARGS="tests/test_model.py"
PYTHON ?= python3
ARGS ?=
BIN := .venv/bin

.PHONY: stack test lint install clean
.DELETE_ON_ERROR:

stack: install
	@$(BIN)/gato stack $(ARGS)

test: install
	@$(BIN)/python -m pytest $(ARGS)

lint: install
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

install: .venv/.installed

.venv/.installed: setup.py requirements.lock ros2_ws/src/gato_ros/setup.py .ci/system_libraries
	@bash .ci/system_libraries $(PYTHON)
	@test -x $(BIN)/python || { echo "[2/4] creating .venv"; $(PYTHON) -m venv .venv; }
	@echo "[3/4] installing pinned packages (about 2 GB, some minutes)"
	@$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off \
		-c requirements.lock -e ".[all]"
	@$(BIN)/python -m pip install --disable-pip-version-check -q --no-deps -e ros2_ws/src/gato_ros
	@$(BIN)/python -m pip check
	@echo "[4/4] robot, basket and object models"
	@$(BIN)/gato assets
	@touch $@

clean:
	rm -rf .venv build install log
