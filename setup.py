"""Metadata of the ROS package gato_core, which is the repository root.

Everything stands here and not in a [project] table: colcon reads setup.py, and crashes on
`requires-python` in pyproject.toml.
"""

from glob import glob

from setuptools import find_packages, setup

FOLDERS = {"gato_core": "gato_core", "gato_sim": "sim", "gato_training": "training"}
packages = [
    package
    for name, folder in FOLDERS.items()
    for package in [name, *(f"{name}.{sub}" for sub in find_packages(folder))]
]

CHECKPOINTS = ["checkpoints/control", "checkpoints/mastery"]
ROS = [
    "ros-rclpy[fastrtps]",
    "ros-sensor-msgs",
    "ros-std-msgs",
    "ros-geometry-msgs",
    "ros-trajectory-msgs",
    "ros-std-srvs",
    "ros-diagnostic-msgs",
    "ros-lifecycle-msgs",
    "ros-rosgraph-msgs",
]
EXTRAS = {
    "sim": ["mujoco>=3.17,<5", "dm_control", "dm-env", "scipy", "imageio-ffmpeg"],
    "gym": ["gymnasium>=1"],
    "cluster": ["ray>=2.9"],  # demonstrations past one machine; 70 MB that most do without
    "train": ["torch>=2.13", "safetensors", "tensorboard"],
    # onnx writes the graph that torch traces; robots that only run one need onnxruntime alone
    "onnx": ["onnx", "onnxruntime"],
    "onnx-gpu": ["onnx", "onnxruntime-gpu"],
    "plot": ["matplotlib"],  # curves of losses and of few-shot fine-tuning
    # recordings, LeRobot's videos (PyAV brings ffmpeg), robomimic's files
    "import": ["rosbags", "mcap", "zstandard", "av", "h5py"],
    "text": ["sentencepiece", "pillow>=11"],
    "ros": ROS,
    "test": ["pytest", "pytest-xdist", "hypothesis", "catkin_pkg"],
    "dev": ["pytest", "pytest-xdist", "hypothesis", "catkin_pkg", "ruff", "mypy", "pre-commit"],
}
EXTRAS["all"] = sorted(
    {one for name, extra in EXTRAS.items() if name not in ("onnx-gpu", "cluster") for one in extra}
)

setup(
    name="gato_core",
    version="0.1.0",
    description="Gato, one transformer that reads cameras and joints and acts, as a ROS 2 stack",
    license="Apache-2.0",
    maintainer="The Gato robotics stack developers",
    maintainer_email="gato-stack@example.com",
    python_requires=">=3.10",
    packages=packages,
    package_dir={"gato_sim": "sim", "gato_training": "training"},
    package_data={
        "gato_core": ["py.typed", "text/*.model", "text/*.json"],
        "gato_sim": ["py.typed"],
        "gato_training": ["py.typed"],
    },
    install_requires=[
        "numpy>=2",
        "opencv-python-headless",
        "pyarrow",
        "pyyaml",
        "tyro",
    ],
    extras_require=EXTRAS,
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/gato_core"]),
        ("share/gato_core", ["package.xml"]),
        ("share/gato_core/config", glob("config/*")),
        ("share/gato_core/checkpoints", glob("checkpoints/*.sh")),
        *((f"share/gato_core/{path}", glob(f"{path}/*.*")) for path in CHECKPOINTS),
    ],
    entry_points={
        "console_scripts": ["gato = gato_core.cli:main"],
        "gato.commands": [
            "analyze = gato_core.tools.analysis:main",
            "ask = gato_core.text.speak:ask",
            "assets = gato_sim.domains.rgb_stacking.scene.assets:main",
            "average = gato_training.studies.average:main",
            "baseline = gato_training.studies.baseline:main",
            "caption = gato_core.text.speak:caption",
            "chat = gato_core.text.speak:chat",
            "bench = gato_core.tools.bench:main",
            "collect = gato_sim.collect:main",
            "completion = gato_core.tools.completion:main",
            "convert = gato_ros.bags.convert:main",
            "dataset = gato_core.tools.edit:main",
            "evaluate = gato_sim.evaluate:main",
            "export = gato_core.deploy.onnx:main",
            "ablations = gato_training.studies.ablations:main",
            "few-shot = gato_training.studies.few_shot:main",
            "inspect = gato_core.tools.inspect:main",
            "stack = gato_ros.stack.stack:main",
            "train = gato_training.train:main",
            "vocabulary = gato_core.text.train_vocabulary:main",
        ],
    },
    zip_safe=False,
)
