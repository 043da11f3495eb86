"""Offline training on LeRobot v3 datasets. Never imports the simulator."""
