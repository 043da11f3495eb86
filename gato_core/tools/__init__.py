"""Programs that look at datasets, checkpoints and this machine."""
