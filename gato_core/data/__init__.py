"""Datasets on disk: LeRobot v3 folders, written, described and read."""
