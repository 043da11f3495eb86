"""An offscreen OpenGL context: EGL (graphics card or Mesa), else OSMesa (software)."""

from __future__ import annotations

import ctypes
import os
import warnings
from importlib import import_module

_drawn_by: int | None = None  # the process that has made a context here, or in a parent
_INSTALL = (
    "install one, e.g. `apt-get install libegl1 libgl1-mesa-dri` or `apt-get install libosmesa6`"
)


def choose_backend() -> str:
    """The value for MUJOCO_GL: the user's if set, else what works here. RuntimeError if nothing."""
    chosen = os.environ.get("MUJOCO_GL", "").lower()
    if chosen:
        return chosen
    if _num_egl_devices() > 0:
        return "egl"
    for name in ("libOSMesa.so.8", "libOSMesa.so.6", "libOSMesa.so"):
        if _library(name):
            return "osmesa"
    raise RuntimeError(
        "no OpenGL for offscreen images: expected libEGL.so.1 with a driver or libOSMesa.so; "
        + _INSTALL
    )


def check_drawing() -> None:
    """Raises RuntimeError, saying why, where nothing can be drawn: before a long command begins."""
    make_context(16, 16).free()


def make_context(width: int, height: int):
    """A current context of MuJoCo's own class for the chosen backend.

    Raises RuntimeError where there is none, or MUJOCO_GL asks for one that cannot draw offscreen,
    or the process is a fork of one that has drawn, whose OpenGL would wait for ever.
    """
    global _drawn_by
    if _drawn_by not in (None, os.getpid()):
        raise RuntimeError(
            "OpenGL hangs in a fork of a process that has drawn: start processes by spawn, "
            "gymnasium.make_vec(..., vector_kwargs={'context': 'spawn'})"
        )
    backend = choose_backend()
    # MuJoCo's C code reads this when it loads the OpenGL functions.
    os.environ["MUJOCO_GL"] = backend
    if backend not in ("egl", "osmesa", "glfw"):
        raise RuntimeError(f"MUJOCO_GL: expected egl, osmesa or glfw, got {backend!r}")
    try:
        context = _glfw(width, height) if backend == "glfw" else _offscreen(backend, width, height)
    except (ImportError, AttributeError, OSError, RuntimeError) as error:
        raise RuntimeError(
            f"MUJOCO_GL={backend} draws nothing here ({error}): unset it to have egl or osmesa "
            f"chosen; {_INSTALL}"
        ) from error
    _drawn_by = os.getpid()
    return context


def _offscreen(backend: str, width: int, height: int):
    context = import_module(f"mujoco.{backend}").GLContext(width, height)
    context.make_current()
    return context


def _glfw(width: int, height: int):
    """Of an invisible window. Raises RuntimeError where GLFW has no display; it only warns."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        context = _offscreen("glfw", width, height)
        if not import_module("glfw").get_current_context():
            raise RuntimeError(str(said[0].message) if said else "no window")
    return context


def _library(name: str) -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(name)
    except OSError:
        return None


def _num_egl_devices() -> int:
    """How many devices EGL offers; the library alone draws nothing without a driver."""
    library = _library("libEGL.so.1")
    if library is None:
        return 0
    library.eglGetProcAddress.restype = ctypes.c_void_p
    library.eglGetProcAddress.argtypes = [ctypes.c_char_p]
    address = library.eglGetProcAddress(b"eglQueryDevicesEXT")
    if not address:
        return 0
    function = ctypes.CFUNCTYPE(
        ctypes.c_uint, ctypes.c_int, ctypes.POINTER(ctypes.c_void_p), ctypes.POINTER(ctypes.c_int)
    )(address)
    count = ctypes.c_int(0)
    return count.value if function(0, None, ctypes.byref(count)) else 0
