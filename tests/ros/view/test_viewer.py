"""The viewer's page, frames and stream, fetched as a browser fetches them, fed by real topics."""

import http.client
import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import cv2
import numpy as np
import pytest
import ros_examples
from ros_examples import CAMERAS, FakeSensors
from std_msgs.msg import Float64MultiArray, String

from gato_ros.common import conversion, topics
from gato_ros.view.server import Board, serve, to_json

COLOR = (200, 40, 90)


@pytest.fixture(scope="module")
def robot(tmp_path_factory):
    """A probe that plays the robot beside a running viewer; `url` is the viewer's."""
    log = tmp_path_factory.mktemp("log") / "viewer.txt"
    with (
        ros_examples.environment(),
        ros_examples.node_process("viewer", log, {"port": 0}),
        ros_examples.probe() as probe,
        FakeSensors(probe) as sensors,
    ):

        def paint(message):
            np.frombuffer(message.data, np.uint8).reshape(-1, 3)[:] = COLOR
            return message

        for camera in CAMERAS:
            sensors.faults[topics.image(camera)] = paint
        assert ros_examples.eventually(lambda: "http://" in log.read_text())
        probe.url = log.read_text().split("viewer: ")[1].split()[0]
        report = {"step": 7, "num_steps": 400, "results": [1] * 1000}
        probe.node.create_publisher(String, topics.EPISODE, topics.LATCHED).publish(
            String(data=json.dumps(report))
        )
        assert ros_examples.eventually(lambda: len(state(probe)["streams"]) >= 3)
        yield probe


def fetch(robot, path: str):
    return urllib.request.urlopen(robot.url + path, timeout=ros_examples.TIMEOUT)


def state(robot) -> dict:
    return json.load(fetch(robot, "/state.json"))


def test_the_page_names_every_part_that_its_script_fills(robot):
    page = fetch(robot, "/").read().decode()
    assert page.startswith("<!doctype html>")
    ids = {part.split('"')[0] for part in page.split('id="')[1:]}
    used = {part.split('"')[0] for part in page.split('get("')[1:]} - {"camera "}
    used |= {part.split('"')[0] for part in page.split('pairs("')[1:]}
    used |= {part.split('"')[0] for part in page.split('table("')[1:]}
    assert used and used <= ids
    assert "//" not in page.replace('"//', "").split("<script>")[0], "it fetches nothing elsewhere"


def test_frames_and_state_are_those_of_the_topics(robot):
    with fetch(robot, f"/frames/{CAMERAS[0]}.jpg") as response:
        assert response.headers["Content-Type"] == "image/jpeg"
        pixels = cv2.imdecode(np.frombuffer(response.read(), np.uint8), cv2.IMREAD_COLOR)
    assert pixels.shape == (64, 64, 3)
    np.testing.assert_allclose(pixels[32, 32, ::-1], COLOR, atol=6)
    shown = state(robot)
    assert set(CAMERAS) | {topics.JOINT_STATES} <= shown["streams"].keys()
    joint = shown["joints"]["right_j3"]
    assert joint["position"] == pytest.approx(ros_examples.ANGLES[3], abs=0.01)
    assert joint["limits"] == [-3.0439, 3.0439]
    assert ros_examples.eventually(lambda: state(robot)["episode"].get("step") == 7)
    assert "results" not in state(robot)["episode"]


def test_events_bring_new_frames_and_answers(robot):
    stream = fetch(robot, "/events")
    assert stream.headers["Content-Type"] == "text/event-stream"
    events = []
    while len(events) < 8:
        robot.publish(conversion.velocity_message(np.zeros(7)), topics.ARM_VELOCITY)
        line = stream.readline()
        if line.startswith(b"data: "):
            events.append(json.loads(line[6:]))
    stream.close()
    assert events[0]["frames"].keys() == set(CAMERAS)
    assert sum(bool(event["frames"]) for event in events) > 2
    assert events[-1]["state"]["answers_ms"] and events[-1]["state"]["command"] == [0.0] * 7


def test_what_is_not_there_and_foreign_host_names_are_refused(robot):
    for path in ("/nothing", "/frames/wrist.jpg", "/../setup.py"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            fetch(robot, path)
        assert refused.value.code == 404
        refused.value.close()
    address = robot.url.removeprefix("http://")
    connection = http.client.HTTPConnection(address)
    connection.request("GET", "/state.json", headers={"Host": "evil.example:8097"})
    assert connection.getresponse().status == 403
    connection.close()


def test_a_visitor_who_does_not_read_delays_nobody(robot):
    host, port = robot.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as lazy:
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        lazy.sendall(f"GET /events HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
        time.sleep(1.0)
        first = state(robot)["streams"][CAMERAS[0]]
        assert first["age_s"] < 1.0 and first["rate_hz"] > 5


def test_no_frame_is_encoded_while_nobody_looks():
    board = Board()
    board.put_frame("camera", np.zeros((4, 4, 3), np.uint8))
    assert not board._encoded
    number, data = board.jpeg("camera")
    assert board.jpeg("camera") == (number, data)
    server = serve(board, dict, "127.0.0.1", 0, 10.0)
    board.close()
    server.shutdown()
    server.server_close()
    assert (
        to_json({"x": float("nan"), "y": [float("inf"), 1.0]}) == b'{"x": null, "y": [null, 1.0]}'
    )


def test_a_taken_port_is_said_in_one_line(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken, ros_examples.environment():
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "gato_ros.nodes", "viewer", "--ros-args"]
        result = subprocess.run(
            [*command, "-p", f"port:={port}"], capture_output=True, text=True, timeout=60
        )
    assert result.returncode == 1
    assert result.stderr.startswith(f"error: port: expected a free one, got {port}")


def test_unreadable_messages_do_not_end_it(robot):
    robot.publish(Float64MultiArray(data=[float("nan")] * 7), topics.ARM_VELOCITY)
    assert ros_examples.eventually(lambda: state(robot)["command"] == [None] * 7)
