"""A robot arm and its Cartesian controller, simulated or real."""
