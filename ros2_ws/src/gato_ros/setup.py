"""Metadata of the ROS package gato_ros: nodes, message conversion and `gato stack`."""

from setuptools import find_packages, setup

setup(
    name="gato_ros",
    version="0.1.0",
    description="ROS 2 nodes of the Gato stack: the policy, the simulated robot and a status view",
    license="Apache-2.0",
    maintainer="The Gato robotics stack developers",
    maintainer_email="gato-stack@example.com",
    python_requires=">=3.10",
    packages=find_packages(include=["gato_ros", "gato_ros.*"]),
    package_data={"gato_ros": ["py.typed"], "gato_ros.view": ["viewer.html"]},
    # the nodes also need gato_core and gato_sim, which the package gato_core installs
    install_requires=["numpy>=2", "opencv-python-headless", "setuptools", "mcap", "rosbags"],
    extras_require={"test": ["pytest"]},
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/gato_ros"]),
        ("share/gato_ros", ["package.xml"]),
    ],
    entry_points={
        "console_scripts": [
            "policy_node = gato_ros.nodes:policy_node",
            "sim_node = gato_ros.nodes:sim_node",
            "status_node = gato_ros.nodes:status_node",
            "recorder = gato_ros.nodes:recorder",
            "teleop = gato_ros.nodes:teleop",
            "viewer = gato_ros.nodes:viewer",
        ],
    },
    zip_safe=False,
)
