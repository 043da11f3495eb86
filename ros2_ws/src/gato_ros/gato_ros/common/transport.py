"""Environment variables that keep DDS on this machine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import metadata

from gato_ros.common import paths

PROFILE = "FASTDDS_DEFAULT_PROFILES_FILE"
OLD_PROFILE = "FASTRTPS_DEFAULT_PROFILES_FILE"  # its name before Fast DDS 3, as in ROS 2 Jazzy
RMW = "RMW_IMPLEMENTATION"
RANGE = "ROS_AUTOMATIC_DISCOVERY_RANGE"
CHOSEN = (PROFILE, OLD_PROFILE, RANGE, "ROS_LOCALHOST_ONLY", "ROS_STATIC_PEERS")
DOMAIN = "ROS_DOMAIN_ID"
DOMAIN_OF_STACK = "97"  # apart from 0, where other ROS programs of this machine talk


def localhost() -> dict[str, str]:
    """UDP on the loopback interface only, with Fast DDS.

    The discovery range must be the default: with LOCALHOST, rmw_fastrtps adds shared memory to
    whatever the profile says and binds to all interfaces.
    """
    profile = str(paths.find("config/fastdds_localhost.xml").resolve())
    return {
        RMW: "rmw_fastrtps_cpp",
        OLD_PROFILE if _is_old() else PROFILE: profile,
        RANGE: "SYSTEM_DEFAULT",
    }


def _is_old() -> bool:
    """Whether Fast DDS is older than 3: that of ROS 2 up to Jazzy, installed whole or as wheels."""
    if distro := os.environ.get("ROS_DISTRO"):
        return distro in ("humble", "iron", "jazzy")
    try:
        return int(metadata.version("ros-rmw-fastrtps-cpp").split(".")[0]) < 9
    except metadata.PackageNotFoundError:
        return False


def of_node(environ: Mapping[str, str]) -> dict[str, str]:
    """What a node process adds to its environment: localhost, unless that says anything of it."""
    if any(name in environ for name in CHOSEN):
        return {}
    is_fast_dds = environ.get(RMW, "rmw_fastrtps_cpp") == "rmw_fastrtps_cpp"
    return localhost() if is_fast_dds else {RANGE: "LOCALHOST"}


def of_stack(environ: Mapping[str, str], *, open_network: bool) -> dict[str, str]:
    """What `gato stack` adds to the environment; a profile or domain already chosen is kept."""
    if open_network:
        chosen = {} if RANGE in environ else {RANGE: "SUBNET"}
    else:
        chosen = {} if PROFILE in environ or OLD_PROFILE in environ else localhost()
    return {DOMAIN: environ.get(DOMAIN, DOMAIN_OF_STACK)} | chosen
