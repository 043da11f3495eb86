"""DeepMind's RGB-stacking benchmark in raw MuJoCo."""
