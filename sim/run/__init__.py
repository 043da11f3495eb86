"""How episodes are run: worker processes, a cluster, progress, and what they came from."""
