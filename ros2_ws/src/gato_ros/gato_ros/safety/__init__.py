"""Checks before a command leaves: limits, freshness, frozen sensors."""
