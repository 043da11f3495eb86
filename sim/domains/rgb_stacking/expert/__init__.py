"""The scripted expert: grasps, places, and what would topple."""
