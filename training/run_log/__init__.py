"""Reports of a run: log, model card, origin, memory estimate, plots."""
