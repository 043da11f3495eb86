"""Recordings to episodes and back."""
