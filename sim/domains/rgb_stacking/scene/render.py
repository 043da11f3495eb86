"""Camera images from a light twin of the scene; the stepped model is never touched.

Drawing costs vertices, not pixels: of the scene's 249,000 triangles most belong to arm and wrist
parts that the basket's cameras never see.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import mujoco
import numpy as np

from gato_core.spec import WHOLE
from gato_sim.domains.rgb_stacking.benchmark import CAMERAS
from gato_sim.domains.rgb_stacking.randomise import Draw, Nominal
from gato_sim.domains.rgb_stacking.scene import scene
from gato_sim.run import gl

# For people: the original's view, whose lower edge the basket's wall hides, and a higher one.
VIDEO_CAMERAS = ("main_camera", "overview")
OVERVIEW = {"lookat": (0.6, 0.0, 0.19), "distance": 0.8, "azimuth": 150.0, "elevation": -30.0}
MAX_GEOMS = 200
MAX_SIDE = 2048  # pixels
_UNSEEN_GROUP = 3  # geoms of this group are drawn for the video cameras alone


@dataclass(frozen=True)
class Style:
    """How a twin is drawn.

    multisampling: OpenGL's samples per pixel. supersampling: pixels drawn along each side of a
    pixel that is returned. sky: whether the basket's cameras see one.
    """

    mesh_set: str
    multisampling: int
    supersampling: int
    sky: bool


STYLES = {
    # Averaging two drawn pixels a side is as smooth as four samples a pixel, and cheaper.
    "light": Style("light", multisampling=0, supersampling=2, sky=False),
    # The files' own meshes and four samples a pixel, as the original draws.
    "faithful": Style("full", multisampling=4, supersampling=1, sky=True),
}


class RenderTwin:
    """Draws the state of a simulation from any camera, uint8 (height, width, 3)."""

    def __init__(self, triplet: tuple[str, str, str], *, style: str = "light") -> None:
        if style not in STYLES:
            raise ValueError(f"render style: expected one of {sorted(STYLES)}, got {style!r}")
        self._style = STYLES[style]
        self._canvases: dict[tuple[int, int], _Canvas] = {}
        self.load_triplet(triplet)

    def load_triplet(self, triplet: tuple[str, str, str]) -> None:
        """Exchanges the objects that are drawn."""
        # The physics is never stepped here, so which one does not matter.
        self._model = scene.compile_scene(
            triplet, scene.PHYSICS["stable"], mesh_set=self._style.mesh_set
        )
        self._model.vis.quality.offsamples = self._style.multisampling
        self._model.vis.quality.shadowsize = 0  # no buffer for shadows that are never drawn
        for geom in range(self._model.ngeom):
            body = self._model.body(self._model.geom_bodyid[geom]).name
            if body.startswith(scene.ROBOT) and not body.startswith(scene.GRIPPER):
                self._model.geom_group[geom] = max(_UNSEEN_GROUP, self._model.geom_group[geom])
        self._data = mujoco.MjData(self._model)
        self._nominal = Nominal(self._model)
        self._scene = mujoco.MjvScene(self._model, MAX_GEOMS)
        self._scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = False
        self._scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = False
        for canvas in self._canvases.values():
            canvas.exchange_objects(self._model)

    def vary(self, draw: Draw | None) -> None:
        """Changes lights, colours and cameras as a draw says; None undoes it."""
        self._nominal.apply(self._model, self._data, draw)

    def render(
        self,
        qpos: np.ndarray,
        camera: str,
        height: int,
        width: int,
        crop: tuple[float, float, float, float] = WHOLE,
    ) -> np.ndarray:
        """The view of one of CAMERAS or VIDEO_CAMERAS. Raises ValueError for another.

        crop: the part of the picture that is drawn, and alone is drawn: left, top, width, height as
        fractions of it.
        """
        if camera not in CAMERAS + VIDEO_CAMERAS:
            raise ValueError(f"camera: expected one of {CAMERAS + VIDEO_CAMERAS}, got {camera!r}")
        if not (1 <= height <= MAX_SIDE and 1 <= width <= MAX_SIDE):
            raise ValueError(f"size: expected 1 to {MAX_SIDE} pixels a side, got {height}x{width}")
        scale = self._style.supersampling
        size = (height * scale, width * scale)
        if size not in self._canvases:
            self._canvases[size] = _Canvas(self._model, *size)
        self._update(qpos, camera)
        _narrow(self._scene, crop, width / height)
        image = self._canvases[size].draw(self._scene)
        if scale > 1:
            image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        return np.ascontiguousarray(image[::-1])  # OpenGL's rows run upwards

    def close(self) -> None:
        """Frees the OpenGL contexts."""
        for canvas in self._canvases.values():
            canvas.close()
        self._canvases.clear()

    def _update(self, qpos: np.ndarray, camera: str) -> None:
        model, data = self._model, self._data
        data.qpos[:] = qpos
        mujoco.mj_kinematics(model, data)
        mujoco.mj_camlight(model, data)
        for_video = camera in VIDEO_CAMERAS
        option = mujoco.MjvOption()
        option.geomgroup[_UNSEEN_GROUP] = for_video
        # The basket fills the other cameras' views, and a sky costs a third of an image.
        self._scene.flags[mujoco.mjtRndFlag.mjRND_SKYBOX] = for_video or self._style.sky
        view = _viewpoint(model, camera)
        mujoco.mjv_updateScene(
            model, data, option, None, view, mujoco.mjtCatBit.mjCAT_ALL.value, self._scene
        )


def _narrow(drawn: mujoco.MjvScene, crop: tuple[float, float, float, float], aspect: float) -> None:
    """Leaves of the scene's frustum what a crop shows; `aspect` is the drawn image's width/height.

    OpenGL's frustum need not be symmetric, so a crop costs what its own pixels cost.
    """
    if crop == WHOLE:
        return
    left, top, width, height = crop
    for camera in drawn.camera:  # two eyes, alike
        upper, whole_height = camera.frustum_top, camera.frustum_top - camera.frustum_bottom
        half_width = 0.5 * whole_height * aspect * height / width
        camera.frustum_top = upper - top * whole_height
        camera.frustum_bottom = upper - (top + height) * whole_height
        camera.frustum_center += half_width * (2 * left + width - 1)


def _viewpoint(model: mujoco.MjModel, camera: str) -> mujoco.MjvCamera:
    view = mujoco.MjvCamera()
    if camera == "overview":
        view.type = mujoco.mjtCamera.mjCAMERA_FREE
        for name, value in OVERVIEW.items():
            setattr(view, name, value)
    else:
        view.type = mujoco.mjtCamera.mjCAMERA_FIXED
        name = camera if camera in VIDEO_CAMERAS else scene.BASKET + camera
        view.fixedcamid = model.camera(name).id
    return view


class _Canvas:
    """An OpenGL context of one size with a model's meshes in it."""

    def __init__(self, model: mujoco.MjModel, height: int, width: int) -> None:
        self._viewport = mujoco.MjrRect(0, 0, width, height)
        self._context = gl.make_context(width, height)
        model.vis.global_.offwidth, model.vis.global_.offheight = width, height
        self._resources = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_50.value)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._resources)

    def exchange_objects(self, model: mujoco.MjModel) -> None:
        """Uploads the meshes in which the scenes of two triplets differ."""
        self._context.make_current()
        for mesh in range(model.nmesh):
            if model.mesh(mesh).name.startswith("rgb_object_"):
                mujoco.mjr_uploadMesh(model, self._resources, mesh)

    def draw(self, view: mujoco.MjvScene) -> np.ndarray:
        self._context.make_current()
        image = np.empty((self._viewport.height, self._viewport.width, 3), np.uint8)
        mujoco.mjr_render(self._viewport, view, self._resources)
        mujoco.mjr_readPixels(image, None, self._viewport, self._resources)
        return image

    def close(self) -> None:
        self._context.make_current()
        self._resources.free()
        self._context.free()
