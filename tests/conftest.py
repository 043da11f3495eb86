"""Settings that must stand before ROS messages are imported."""

import os

# Without it rclpy turns a wrong field value into 0 or ignores it.
os.environ["ROS_PYTHON_CHECK_FIELDS"] = "1"
