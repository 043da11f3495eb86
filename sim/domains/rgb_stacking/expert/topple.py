"""Tipping an object over an edge, so that it rests on a face with a level one on top.

Red does not stay on a prism that lies with a ridge on top. The closed gripper lifts one end by its
face and walks it over the far edge: forward and upward, for a push alone would slide it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gato_sim.arm.sawyer import WORKSPACE_HIGH, WORKSPACE_LOW
from gato_sim.domains.rgb_stacking.benchmark import BASKET_ORIGIN
from gato_sim.domains.rgb_stacking.expert.grasp import (
    FINGER_HALF_BREADTH,
    TIP_BELOW_PINCH,
    Solid,
    rotation_matrix,
)

FLOOR = BASKET_ORIGIN[2]
UPRIGHT = 0.3  # greatest vertical component of the normal of a face to land on
STEEPEST_PATH = 1.1  # rad the object may have to be turned until it falls by itself
START_GAP = 0.015  # m between finger and object before the push
TIP_SHARE = 0.45  # of the object's height at which the finger tip pushes
LEAD = 0.45  # rad of the turn by which the finger is ahead
FALLING = 0.2  # rad beyond the balance


@dataclass(frozen=True)
class Topple:
    """face: index of the face to land on. contact: where the finger pushes, in the body frame."""

    face: int
    contact: np.ndarray
    balance: float  # rad of turn after which it falls by itself


def topples(solid: Solid, pose: np.ndarray) -> list[Topple]:
    """Ways to tip a solid, which is in the world with its body frame at pose, the easiest first."""
    height = solid.top - FLOOR
    ways = []
    for face in np.flatnonzero(np.abs(solid.normals[:, 2]) < UPRIGHT):
        direction = _horizontal(solid.normals[face])
        edge = _pivot(solid, direction)
        lever = float((edge - pose[:3]) @ direction)
        balance = float(np.arctan2(lever, pose[2] - FLOOR))
        behind = solid.vertices @ direction
        tip = np.array([*pose[:2], FLOOR + TIP_SHARE * height])
        contact = tip + (behind.min() - tip @ direction) * direction
        reach = _start(contact, direction)
        inside = (reach >= WORKSPACE_LOW).all() and (reach <= WORKSPACE_HIGH).all()
        if inside and 0 < balance < STEEPEST_PATH:
            rotation = rotation_matrix(pose[3:])
            ways.append(Topple(int(face), rotation.T @ (contact - pose[:3]), balance))
    return sorted(ways, key=lambda way: way.balance)


def landing(way: Topple, solid: Solid, pose: np.ndarray) -> np.ndarray:
    """The pose (7,) in which the object stands after it was tipped."""
    normal = solid.normals[way.face]
    direction = _horizontal(normal)
    axis = np.cross(direction, [0, 0, -1.0])
    turn = np.pi / 2 - np.arcsin(np.clip(-normal[2], -1, 1))
    half = np.concatenate([[np.cos(turn / 2)], np.sin(turn / 2) * axis])
    edge = _pivot(solid, direction)
    center = edge + rotation_matrix(half) @ (pose[:3] - edge)
    return np.concatenate([center, _product(half, pose[3:])])


def turned(way: Topple, solid: Solid) -> float:
    """How far the object has been turned, rad: 0 lying, pi / 2 standing."""
    return float(np.arcsin(np.clip(-solid.normals[way.face, 2], -1, 1)))


def finger(way: Topple, solid: Solid, pose: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Pinch points (3,) where the push starts and where it goes now, and the closing axis' yaw."""
    direction = _horizontal(solid.normals[way.face])
    contact = pose[:3] + rotation_matrix(pose[3:]) @ way.contact
    edge = _pivot(solid, direction)
    arm = contact - edge
    along, up = arm @ direction, arm[2]
    sine, cosine = np.sin(LEAD), np.cos(LEAD)
    ahead = edge + (arm @ _across(direction)) * _across(direction)
    ahead = ahead + (along * cosine + up * sine) * direction
    ahead[2] = edge[2] - along * sine + up * cosine
    yaw = float(np.arctan2(direction[0], -direction[1]))  # closing across the push
    return _start(contact, direction), _pinch(ahead, direction), yaw


def _start(contact: np.ndarray, direction: np.ndarray) -> np.ndarray:
    return _pinch(contact - START_GAP * direction, direction)


def _pinch(tip: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """Pinch point (3,) that brings the front of the closed finger tips to a point."""
    return tip - FINGER_HALF_BREADTH * direction + np.array([0, 0, TIP_BELOW_PINCH])


def _pivot(solid: Solid, direction: np.ndarray) -> np.ndarray:
    """Middle (3,) of the edge on the floor that lies furthest along a horizontal direction."""
    low = solid.vertices[solid.vertices[:, 2] < solid.vertices[:, 2].min() + 0.003]
    reach = low @ direction
    return low[reach > reach.max() - 0.003].mean(axis=0)


def _horizontal(vector: np.ndarray) -> np.ndarray:
    flat = np.array([vector[0], vector[1], 0.0])
    return flat / np.linalg.norm(flat)


def _across(direction: np.ndarray) -> np.ndarray:
    return np.array([-direction[1], direction[0], 0.0])


def _product(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Product of two quaternions wxyz (4,)."""
    w, v = first[0], first[1:]
    u, x = second[0], second[1:]
    return np.concatenate([[w * u - v @ x], w * x + u * v + np.cross(v, x)])
