"""Studies over several trainings: few-shot curves, ablations, baselines, weight averaging."""
