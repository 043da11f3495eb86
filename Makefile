# make stack   installs everything into .venv and runs robot, policy and status view over ROS 2
# make test    installs the same and runs all tests but the long ones, in three processes
# make test-long    the long ones
# make test-jazzy   runs the ROS tests with the packages of ROS 2 Jazzy, in an environment of its own
# ARGS are passed on: make stack ARGS="--episodes 2", make test ARGS="tests/core/test_model.py"
PYTHON ?= python3
ARGS ?=
BIN := .venv/bin
JAZZY ?= .venv-jazzy
JAZZY_MESSAGES := sensor-msgs std-msgs geometry-msgs trajectory-msgs std-srvs diagnostic-msgs \
	lifecycle-msgs rosgraph-msgs

# one file after another to each process, in the order of tests/conftest.py
# three on two cores: the tests of ROS nodes wait for them half of the time
PARALLEL := -n 3 --dist loadfile --no-loadscope-reorder

.PHONY: stack test test-long test-jazzy lint install clean
.DELETE_ON_ERROR:

stack: install
	@$(BIN)/gato stack $(ARGS)

test: install
	@$(BIN)/python -m pytest $(PARALLEL) $(ARGS)

test-long: install
	@$(BIN)/python -m pytest -m long $(ARGS)

test-jazzy: $(JAZZY)/.installed
	@env -u LD_LIBRARY_PATH -u _ROS_WHEELS_BOOTSTRAP_COMPLETE \
		$(JAZZY)/bin/python -m pytest $(or $(ARGS),tests/ros)

lint: install
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

install: .venv/.installed

.venv/.installed: setup.py requirements.lock ros2_ws/src/gato_ros/setup.py .ci/system_libraries
	@bash .ci/system_libraries $(PYTHON)
	@test -x $(BIN)/python || { echo "[2/4] creating .venv"; $(PYTHON) -m venv .venv; }
	@echo "[3/4] installing pinned packages (about 2 GB, some minutes)"
	@$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off \
		-c requirements.lock -e ".[all]"
	@$(BIN)/python -m pip install --disable-pip-version-check -q --no-deps \
		--use-pep517 -e ros2_ws/src/gato_ros
	@$(BIN)/python -m pip check
	@echo "[4/4] robot, basket and object models"
	@$(BIN)/gato assets
	@touch $@

# the lock file pins ROS 2 Kilted; everything else is the same
$(JAZZY)/.installed: setup.py requirements.lock ros2_ws/src/gato_ros/setup.py
	@bash .ci/system_libraries $(PYTHON)
	@test -x $(JAZZY)/bin/python || $(PYTHON) -m venv $(JAZZY)
	@grep -v '^ros-' requirements.lock > $(JAZZY)/constraints.txt
	@$(JAZZY)/bin/python -m pip install --disable-pip-version-check --progress-bar off \
		-c $(JAZZY)/constraints.txt -e ".[sim,train,import,test]" \
		"ros-rclpy[fastrtps]==7.1.*" $(patsubst %,ros-jazzy-%,$(JAZZY_MESSAGES))
	@$(JAZZY)/bin/python -m pip install --disable-pip-version-check -q --no-deps \
		--use-pep517 -e ros2_ws/src/gato_ros
	@$(JAZZY)/bin/gato assets
	@touch $@

clean:
	rm -rf .venv $(JAZZY) build install log
