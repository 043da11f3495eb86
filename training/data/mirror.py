"""Mirror augmentation: demonstrations with left and right exchanged.

Not in the paper. Reflected in the robot's vertical plane (y to -y) the two front cameras show each
other's picture, and the same motion solves the mirrored task. Joint angles have no mirror image
(the arm's elbow stays on its side), so they are those that the robot has elsewhere in its data at
the mirrored pose of the gripper. What stays wrong is how the arm looks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gato_core.data.features import STATE, state_slices
from gato_core.dataset import Dataset
from gato_core.episode import Episode
from gato_core.spec import Continuous, Image, Spec

POSE = ("x", "y", "z", "qw", "qx", "qy", "qz")
# A reflection turns (w, x, y, z) into (w, -x, y, -z); with x >= 0, as policies meet it, that is
# (-w, x, -y, z).
REVERSED = {"y", "qw", "qy", "y_velocity", "yaw_rate"}
UNCHANGED = {"x", "z", "qx", "qz", "x_velocity", "z_velocity", "gripper"}
MAX_ROWS = 20_000  # that the joint angles are fitted to
MAX_ERROR = 0.05  # rad, root mean square: more and the joints do not follow from the pose


@dataclass(frozen=True)
class Mirror:
    """How to reflect episodes of one Spec.

    partner: each image's key of the other side. sign: factors of each key's numbers. pose: the key
    of the gripper's pose. joints: per key that follows from the pose, coefficients (P, n).
    """

    partner: Mapping[str, str]
    sign: Mapping[str, np.ndarray]
    action_sign: np.ndarray
    pose: str
    joints: Mapping[str, np.ndarray]

    def reflect(self, episode: Episode) -> None:
        """Exchanges left and right in observations and actions, in place."""
        seen = episode.observation
        mirrored = {key: seen[other][:, :, ::-1] for key, other in self.partner.items()}
        mirrored |= {key: seen[key] * sign for key, sign in self.sign.items()}
        terms = _terms(mirrored[self.pose])
        mirrored |= {key: (terms @ c).astype(np.float32) for key, c in self.joints.items()}
        seen.update(mirrored)
        episode.action = episode.action * self.action_sign
        if episode.executed is not None:
            episode.executed = episode.executed * self.action_sign


def mirror(spec: Spec, datasets: Sequence[Dataset]) -> Mirror:
    """The reflection of a Spec, its joint angles fitted to the datasets' own.

    Raises ValueError for a Spec it does not understand: an image without an image of the other
    side, numbers that are neither known names nor follow from a pose of the gripper.
    """
    images = [key for key, modality in spec.observation.items() if isinstance(modality, Image)]
    partner = {key: _other_side(key) for key in images}
    if odd := [key for key in images if partner[key] not in images]:
        raise ValueError(f"mirror: expected an image of the other side for each, got only {odd}")
    numbers = {k: m for k, m in spec.observation.items() if isinstance(m, Continuous)}
    poses = [key for key, modality in numbers.items() if modality.names == POSE]
    if len(poses) != 1 or len(images) + len(numbers) != len(spec.observation):
        raise ValueError(
            f"mirror: expected images, numbers and one pose with names {POSE}, "
            f"got {list(spec.observation)}"
        )
    (pose,) = poses
    signs = {key: _signs(modality.names) for key, modality in numbers.items()}
    fitted = [key for key, sign in signs.items() if sign is None]
    action_sign = _signs(spec.action.names) if isinstance(spec.action, Continuous) else None
    if action_sign is None:
        known = sorted(REVERSED | UNCHANGED)
        raise ValueError(f"mirror: expected actions among {known}, got {spec.action}")
    return Mirror(
        partner,
        {key: sign for key, sign in signs.items() if sign is not None},
        action_sign,
        pose,
        _fit(spec, datasets, pose, fitted) if fitted else {},
    )


def _other_side(key: str) -> str:
    swapped = {"left": "right", "right": "left"}
    side = next((side for side in swapped if side in key), None)
    return key.replace(side, swapped[side]) if side else key


def _signs(names: Sequence[str]) -> np.ndarray | None:
    """float32 factors of the named numbers; None where a name says nothing of left and right."""
    if not names or not set(names) <= REVERSED | UNCHANGED:
        return None
    return np.array([-1 if name in REVERSED else 1 for name in names], np.float32)


def _fit(
    spec: Spec, datasets: Sequence[Dataset], pose: str, keys: Sequence[str]
) -> dict[str, np.ndarray]:
    """Least squares of each key's numbers on polynomials of the pose."""
    place = state_slices(spec)
    state = np.concatenate([dataset.column(STATE) for dataset in datasets])
    state = state[:: max(1, len(state) // MAX_ROWS)]
    terms = _terms(state[:, place[pose]])
    result = {}
    for key in keys:
        values = state[:, place[key]]
        result[key] = np.linalg.lstsq(terms, values, rcond=None)[0]
        error = float(np.sqrt(np.mean((terms @ result[key] - values) ** 2)))
        if error > MAX_ERROR:
            raise ValueError(
                f"mirror: expected {key} to follow from {pose} within {MAX_ERROR} rad, "
                f"got {error:.3f}"
            )
    return result


def _terms(pose: np.ndarray) -> np.ndarray:
    """Monomials up to the third degree (T, P) of position and turn; tilt by itself."""
    x, y, z, qw, qx, qy, qz = pose.astype(np.float64).T
    turn = 2 * np.arctan2(qy, qx)
    base = [np.ones_like(x), 4 * (x - 0.6), 4 * y, 4 * (z - 0.17), turn]
    cubic = [
        base[i] * base[j] * base[k] for i in range(5) for j in range(i, 5) for k in range(j, 5)
    ]
    return np.stack([*cubic, qw, qz], axis=1)
