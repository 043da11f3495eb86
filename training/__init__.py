"""Offline training on LeRobot v3 datasets. Never imports the simulator."""

import os

# Torch's threads wait for each other hundreds of times an update. By default they do so spinning,
# and where another program takes a core for a moment, an update costs twice the CPU time.
# Read once, when torch is first imported.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
