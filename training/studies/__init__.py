"""Trainings compared: few-shot curves, ablations, baselines, averaged weights."""
