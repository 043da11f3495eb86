"""Augmentation, mirroring and side-task labels of demonstrations."""
