"""Binary STL files as triangles, and lighter meshes of the same shape."""

from __future__ import annotations

import numpy as np
from scipy.spatial import ConvexHull

_TRIANGLE = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
_HEADER_BYTES = 80


def read_stl(content: bytes) -> np.ndarray:
    """Corners of every triangle, float32 (num_triangles, 3, 3). Raises ValueError if truncated."""
    count = int.from_bytes(content[_HEADER_BYTES : _HEADER_BYTES + 4], "little")
    expected = _HEADER_BYTES + 4 + count * _TRIANGLE.itemsize
    if len(content) != expected:
        raise ValueError(f"STL: expected {expected} bytes for {count} faces, got {len(content)}")
    return np.frombuffer(content, _TRIANGLE, offset=_HEADER_BYTES + 4)["corners"].copy()


def write_stl(triangles: np.ndarray) -> bytes:
    """A binary STL file of triangles (num_triangles, 3, 3); `read_stl` inverts it."""
    records = np.zeros(len(triangles), _TRIANGLE)
    records["corners"] = triangles
    return bytes(_HEADER_BYTES) + len(triangles).to_bytes(4, "little") + records.tobytes()


def hull(triangles: np.ndarray) -> np.ndarray:
    """The convex hull, its faces turned outwards. MuJoCo collides with nothing else of a mesh."""
    points = np.unique(triangles.reshape(-1, 3), axis=0)
    result = ConvexHull(points.astype(np.float64))
    faces = points[result.simplices]
    outward = np.cross(faces[:, 1] - faces[:, 0], faces[:, 2] - faces[:, 0])
    inside_out = (outward * result.equations[:, :3]).sum(1) < 0
    faces[inside_out] = faces[inside_out][:, ::-1]
    return faces


def snap(triangles: np.ndarray, cell: float) -> np.ndarray:
    """Joins the vertices within each cubic cell into their mean; triangles that collapse go."""
    points = triangles.reshape(-1, 3)
    _, cluster = np.unique(np.floor(points / cell).astype(np.int64), axis=0, return_inverse=True)
    cluster = cluster.reshape(-1)
    count = np.bincount(cluster)
    mean = np.stack([np.bincount(cluster, points[:, i]) / count for i in range(3)], axis=1)
    corner = cluster.reshape(-1, 3)
    distinct = (corner != np.roll(corner, 1, axis=1)).all(1)
    # one of each set of triangles over the same three cells
    _, kept = np.unique(np.sort(corner[distinct], axis=1), axis=0, return_index=True)
    return mean[corner[distinct][kept]].astype(np.float32)
