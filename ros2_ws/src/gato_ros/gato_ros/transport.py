"""Environment variables that keep DDS on this machine."""

from __future__ import annotations

from collections.abc import Mapping

from gato_ros import paths

PROFILE = "FASTDDS_DEFAULT_PROFILES_FILE"
RMW = "RMW_IMPLEMENTATION"
RANGE = "ROS_AUTOMATIC_DISCOVERY_RANGE"
DOMAIN = "ROS_DOMAIN_ID"
DOMAIN_OF_STACK = "97"  # apart from 0, where other ROS programs of this machine talk


def localhost() -> dict[str, str]:
    """UDP on the loopback interface only, with Fast DDS.

    The discovery range must be the default: with LOCALHOST, rmw_fastrtps adds shared memory to
    whatever the profile says and binds to all interfaces.
    """
    return {
        RMW: "rmw_fastrtps_cpp",
        PROFILE: str(paths.find("config/fastdds_localhost.xml").resolve()),
        RANGE: "SYSTEM_DEFAULT",
    }


def of_node(environ: Mapping[str, str]) -> dict[str, str]:
    """What a node process adds to its environment: localhost, unless that says anything of it."""
    if any(name in environ for name in (PROFILE, RANGE, "ROS_LOCALHOST_ONLY", "ROS_STATIC_PEERS")):
        return {}
    is_fast_dds = environ.get(RMW, "rmw_fastrtps_cpp") == "rmw_fastrtps_cpp"
    return localhost() if is_fast_dds else {RANGE: "LOCALHOST"}


def of_stack(environ: Mapping[str, str], *, open_network: bool) -> dict[str, str]:
    """What `gato stack` adds to the environment; a profile or domain already chosen is kept."""
    if open_network:
        chosen = {} if RANGE in environ else {RANGE: "SUBNET"}
    else:
        chosen = {} if PROFILE in environ else localhost()
    return {DOMAIN: environ.get(DOMAIN, DOMAIN_OF_STACK)} | chosen
