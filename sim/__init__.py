"""RGB-stacking in raw MuJoCo: scene, environment, expert, collection, evaluation."""
