"""Metadata of the ROS package gato_bringup: `ros2 launch gato_bringup stack.launch.py`."""

from glob import glob

from setuptools import setup

setup(
    name="gato_bringup",
    version="0.1.0",
    description="Launch files of the Gato stack",
    license="Apache-2.0",
    maintainer="The Gato robotics stack developers",
    maintainer_email="gato-stack@example.com",
    packages=[],
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/gato_bringup"]),
        ("share/gato_bringup", ["package.xml"]),
        ("share/gato_bringup/launch", glob("launch/*.launch.py")),
    ],
    zip_safe=False,
)
