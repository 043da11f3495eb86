"""Settings that must stand before ROS messages are imported."""

import os
import signal

# Without it rclpy turns a wrong field value into 0 or ignores it.
os.environ["ROS_PYTHON_CHECK_FIELDS"] = "1"

# A shell that runs the tests in the background ignores SIGINT, and children would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
