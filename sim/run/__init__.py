"""Running many episodes: worker processes, Ray, progress, provenance."""
