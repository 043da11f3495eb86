"""One camera at 20 Hz until it is killed: `python ros_camera.py TOPIC`."""

import sys
import time

import numpy as np
import rclpy

from gato_ros.common import conversion, topics

rclpy.init(args=[])
node = rclpy.create_node("camera")
image = conversion.image_message(64, 64, "camera")
publisher = node.create_publisher(type(image), sys.argv[1], topics.SENSOR)
rng = np.random.default_rng(0)
while True:
    pixels = rng.integers(0, 8, (64, 64, 3), np.uint8)
    conversion.fill_image(image, pixels, node.get_clock().now().to_msg())
    publisher.publish(image)
    time.sleep(0.05)
