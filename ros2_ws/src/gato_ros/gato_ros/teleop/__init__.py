"""A person moves the robot."""
