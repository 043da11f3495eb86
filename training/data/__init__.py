"""What is done to demonstrations before they are learned: augmentation, mirror, side task."""
