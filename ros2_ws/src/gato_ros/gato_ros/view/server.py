"""Serves the viewer's page, the newest camera frames and a stream of what goes on, over HTTP.

    /                     the page
    /events               Server-Sent Events: {"state": {...}, "frames": {camera: JPEG data URL}}
    /state.json           the state once
    /frames/<camera>.jpg  the newest frame once

Only reads: there is nothing here that moves the robot. Frames in between are dropped, and nothing
is encoded while nobody looks.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from urllib.parse import unquote

import cv2
import numpy as np

JPEG_QUALITY = 90
HEARTBEAT = 1.0  # s between events when nothing changes
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Board:
    """The newest frames, and whether they changed; written by callbacks, read by every visitor."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._frames: dict[str, tuple[int, np.ndarray]] = {}
        self._encoded: dict[str, tuple[int, bytes]] = {}
        self._version = 0
        self.is_closed = False

    def put_frame(self, camera: str, pixels: np.ndarray) -> None:
        """A frame, uint8 (height, width, 3) RGB, which must not change afterwards."""
        with self._changed:
            number = self._frames[camera][0] + 1 if camera in self._frames else 1
            self._frames[camera] = (number, pixels)
            self._note()

    def note(self) -> None:
        """Something else than a frame changed."""
        with self._changed:
            self._note()

    def _note(self) -> None:
        self._version += 1
        self._changed.notify_all()

    def close(self) -> None:
        """Ends every stream."""
        with self._changed:
            self.is_closed = True
            self._changed.notify_all()

    def wait(self, version: int, timeout: float) -> int:
        """The version, once it is newer than `version` or after `timeout` s."""
        with self._changed:
            self._changed.wait_for(lambda: self.is_closed or self._version > version, timeout)
            return self._version

    def cameras(self) -> list[str]:
        with self._changed:
            return sorted(self._frames)

    def jpeg(self, camera: str) -> tuple[int, bytes]:
        """The newest frame's number and its JPEG, encoded once. Raises KeyError without one."""
        with self._changed:
            number, pixels = self._frames[camera]
            if self._encoded.get(camera, (0, b""))[0] == number:
                return self._encoded[camera]
        quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
        data = cv2.imencode(".jpg", np.ascontiguousarray(pixels[:, :, ::-1]), quality)[1].tobytes()
        with self._changed:
            self._encoded[camera] = (number, data)
        return number, data


@dataclass(frozen=True)
class _Site:
    """What the pages are made of; see `serve`."""

    board: Board
    state: Callable[[], Mapping]
    host: str
    rate: float
    page: bytes


def serve(
    board: Board, state: Callable[[], Mapping], host: str, port: int, rate: float
) -> ThreadingHTTPServer:
    """Starts serving in threads of its own; `server_port` says where when `port` is 0.

    state: what /events tells, JSON-ready. rate: events a second at most. On a loopback address
    requests for other host names are refused, so that no web page can read the cameras through a
    name that it points here. Raises OSError when the port is taken.
    """
    page = resources.files("gato_ros.view").joinpath("viewer.html").read_bytes()
    site = _Site(board, state, host, rate, page)
    server = ThreadingHTTPServer((host, port), partial(_Handler, site))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="http", daemon=True).start()
    return server


class _Handler(BaseHTTPRequestHandler):
    """One visitor's request."""

    def __init__(self, site: _Site, *request: object) -> None:
        self._site = site
        super().__init__(*request)  # which answers it

    def do_GET(self) -> None:
        site = self._site
        if not _is_allowed(self.headers.get("Host", ""), site.host):
            self.send_error(403, "expected a request for this machine by its own name")
            return
        path = unquote(self.path.partition("?")[0])
        try:
            if path == "/":
                self._send(site.page, "text/html; charset=utf-8")
            elif path == "/state.json":
                self._send(to_json(site.state()), "application/json")
            elif path == "/events":
                self._stream()
            elif path.startswith("/frames/") and path.endswith(".jpg"):
                self._frame(path.removeprefix("/frames/").removesuffix(".jpg"))
            else:
                self.send_error(404)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the visitor left

    def _frame(self, camera: str) -> None:
        board = self._site.board
        if camera not in board.cameras():
            self.send_error(404, f"expected a camera of {board.cameras()}")
            return
        self._send(board.jpeg(camera)[1], "image/jpeg")

    def _send(self, data: bytes, content_type: str) -> None:
        self._headers(content_type)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _headers(self, content_type: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Cache-Control", "no-store")
        policy = "default-src 'self'; img-src data:; style-src 'unsafe-inline'; "
        self.send_header("Content-Security-Policy", policy + "script-src 'unsafe-inline'")

    def _stream(self) -> None:
        board, state, period = self._site.board, self._site.state, 1 / self._site.rate
        self._headers("text/event-stream")
        self.end_headers()
        seen: dict[str, int] = {}
        version = 0
        while not board.is_closed:
            started = time.monotonic()
            event = to_json({"state": state(), "frames": _new_frames(board, seen)})
            self.wfile.write(b"data: " + event + b"\n\n")
            time.sleep(max(0.0, period - (time.monotonic() - started)))
            version = board.wait(version, HEARTBEAT)

    def log_message(self, *_: object) -> None:
        pass  # a visit is no news


def _is_allowed(name: str, host: str) -> bool:
    """Whether a request's Host header is one that this machine itself would use."""
    return host not in LOOPBACK or name.rpartition(":")[0].strip("[]") in LOOPBACK


def _new_frames(board: Board, seen: dict[str, int]) -> dict[str, str]:
    """Data URLs of frames unlike those numbered in `seen`, which is brought up to date."""
    frames = {}
    for camera in board.cameras():
        number, data = board.jpeg(camera)
        if seen.get(camera) != number:
            seen[camera] = number
            frames[camera] = "data:image/jpeg;base64," + base64.b64encode(data).decode()
    return frames


def to_json(value: object) -> bytes:
    """JSON that browsers read: numbers that are not finite become null."""
    return json.dumps(_finite(value)).encode()


def _finite(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(key): _finite(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
