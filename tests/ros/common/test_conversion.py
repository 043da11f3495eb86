import array

import cv2
import numpy as np
import pytest
from builtin_interfaces.msg import Time
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from gato_core.importers import encoded, pictures
from gato_ros.common import conversion

PIXELS = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)


def image(encoding: str, data: np.ndarray, step: int | None = None, **fields) -> Image:
    height, width = data.shape[:2]
    message = Image(
        height=height, width=width, encoding=encoding, step=step or data.nbytes // height, **fields
    )
    message.data = array.array("B", data.tobytes())
    return message


def over_the_wire(message):
    return deserialize_message(serialize_message(message), type(message))


def test_image_survives_the_wire_bit_for_bit():
    message = conversion.image_message(4, 6, "camera")
    conversion.fill_image(message, PIXELS, Time(sec=3))
    received = over_the_wire(message)
    np.testing.assert_array_equal(conversion.image_to_array(received), PIXELS)
    assert received.header.stamp.sec == 3 and received.step == 18


def test_every_encoding_gives_the_same_rgb():
    alpha = np.full((4, 6, 1), 7, np.uint8)
    rgba = np.concatenate([PIXELS, alpha], axis=2)
    bgra = np.concatenate([PIXELS[:, :, ::-1], alpha], axis=2)
    for encoding, data in (
        ("rgb8", PIXELS),
        ("bgr8", PIXELS[:, :, ::-1]),
        ("rgba8", rgba),
        ("bgra8", bgra),
    ):
        got = conversion.image_to_array(image(encoding, data))
        np.testing.assert_array_equal(got, PIXELS, err_msg=encoding)


def test_mono_becomes_grey_whatever_its_byte_order():
    grey = PIXELS[:, :, 0]
    expected = np.repeat(grey[:, :, None], 3, axis=2)
    deep = grey.astype(np.uint16) << 8 | 0x5A
    for message in (
        image("mono8", grey),
        image("mono16", deep.astype("<u2")),
        image("mono16", deep.astype(">u2"), is_bigendian=1),
    ):
        np.testing.assert_array_equal(conversion.image_to_array(message), expected)


def test_padding_at_the_end_of_rows_is_skipped():
    padded = np.zeros((4, 25), np.uint8)
    padded[:, :18] = PIXELS.reshape(4, 18)
    message = image("rgb8", PIXELS, step=25)
    message.data = array.array("B", padded.tobytes())
    np.testing.assert_array_equal(conversion.image_to_array(message), PIXELS)


def compressed(form: str, data: np.ndarray, ending: str = ".png") -> CompressedImage:
    """What OpenCV makes of an array, whose channels it takes for blue, green, red."""
    stored = cv2.imencode(ending, data, [cv2.IMWRITE_JPEG_QUALITY, 100])[1]
    return CompressedImage(format=form, data=array.array("B", stored.tobytes()))


@pytest.mark.parametrize("ending", [".png", ".jpg"])
def test_the_format_of_a_compressed_image_says_the_order_of_its_colours(ending):
    """image_transport hands the encoder either order; `format` alone tells. It was not read."""
    red = np.full((4, 6, 3), (250, 20, 0), np.uint8)
    for form, stored in (
        ("png", red[:, :, ::-1]),
        ("jpeg", red[:, :, ::-1]),
        ("", red[:, :, ::-1]),
        ("rgb8; jpeg compressed bgr8", red[:, :, ::-1]),
        ("bgr8; png compressed bgr8", red[:, :, ::-1]),
        ("bayer_rggb8; jpeg compressed bgr8", red[:, :, ::-1]),
        ("rgb8; jpeg compressed rgb8", red),
        ("bgr8; jpeg compressed rgb8", red),
        ("RGB8; JPEG compressed RGB8", red),
        ("rgb8; jpeg compressed ", red),
        ("rgba8;png compressed rgba8", red),
    ):
        got = conversion.image_to_array(compressed(form, stored, ending)).astype(int)
        assert np.abs(got - red).max() <= 4, form


def test_a_mosaic_becomes_colours_raw_or_compressed():
    """A smooth picture behind each order of colour filters; compressed ones came out grey."""
    row, column = np.mgrid[:32, :48]
    picture = np.stack([100 + 2 * column, 60 + 3 * row, 200 - 2 * column], 2).astype(np.uint8)
    for order in ("rggb", "bggr", "gbrg", "grbg"):
        places = np.array(
            [["rgb".index(c) for c in order[:2]], ["rgb".index(c) for c in order[2:]]]
        )
        which = places[row % 2, column % 2]
        mosaic = np.take_along_axis(picture, which[:, :, None], 2)[:, :, 0]
        deep = mosaic.astype(np.uint16) << 8
        for message in (
            image(f"bayer_{order}8", mosaic),
            image(f"bayer_{order}16", deep.astype("<u2")),
            image(f"bayer_{order}16", deep.astype(">u2"), is_bigendian=1),
            compressed(f"bayer_{order}8; png compressed ", mosaic),
            compressed(f"bayer_{order}8; jpeg compressed ", mosaic, ".jpg"),
            compressed(f"bayer_{order}16; png compressed bayer_{order}16", deep),
        ):
            got = conversion.image_to_array(message).astype(int)
            assert np.abs(got - picture)[2:-2, 2:-2].max() <= 12, (order, message.format)


def test_sixteen_bits_keep_the_high_byte():
    deep = PIXELS.astype(np.uint16) << 8 | 0x5A
    grey = np.repeat(PIXELS[:, :, :1], 3, 2)
    for message, expected in (
        (image("rgb16", deep.astype("<u2")), PIXELS),
        (image("bgr16", deep[:, :, ::-1].astype(">u2"), is_bigendian=1), PIXELS),
        (compressed("rgb16; png compressed bgr16", deep[:, :, ::-1]), PIXELS),
        (compressed("rgb16; png compressed rgb16", deep), PIXELS),
        (compressed("mono16; png compressed mono16", deep[:, :, 0]), grey),
    ):
        np.testing.assert_array_equal(conversion.image_to_array(message), expected)


def test_grey_of_eight_bits_is_a_picture_whatever_it_is_called():
    grey = np.repeat(PIXELS[:, :, :1], 3, 2)
    for form in ("", "png", "mono8; png compressed ", "mono8; png compressed mono8", "rgb8; png"):
        got = conversion.image_to_array(compressed(form, PIXELS[:, :, 0]))
        np.testing.assert_array_equal(got, grey, err_msg=form)


def test_depth_is_no_picture():
    """16 bits of millimetres became a grey of 0 to 20, silently."""
    depth = np.full((4, 6), 1500, np.uint16)
    for message, words in (
        (image("16UC1", depth), "encoding: expected .* got '16UC1'"),
        (image("32FC1", depth.astype(np.float32)), "encoding: expected .* got '32FC1'"),
        (compressed("png", depth), "got one channel of 16 bits"),
        (compressed("", depth), "got one channel of 16 bits"),
        (compressed("16UC1; png compressed ", depth), "one channel of 16 bits .*'16UC1; png"),
        (compressed("8UC1; png compressed ", depth.astype(np.uint8)), "channel of 8 bits"),
        (compressed("16UC1; compressedDepth png", depth), "expected a picture, got depth"),
        (compressed("32FC1; compressedDepth", depth), "expected a picture, got depth"),
        (compressed("16UC1; compressedDepth rvl", depth), "expected a picture, got depth"),
    ):
        with pytest.raises(ValueError, match=words):
            conversion.image_to_array(message)


def test_pictures_are_read_as_the_sensor_has_them():
    """A tag that says "turn by 90 degrees" was obeyed for JPEG, so the picture had another size."""
    plain = cv2.imencode(".jpg", np.full((4, 6, 3), 99, np.uint8))[1].tobytes()
    tag = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    exif = b"Exif\0\0" + tag
    turned = plain[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + plain[2:]
    assert cv2.imdecode(np.frombuffer(turned, np.uint8), cv2.IMREAD_COLOR).shape == (6, 4, 3)
    message = CompressedImage(format="jpeg", data=array.array("B", turned))
    assert conversion.image_to_array(message).shape == (4, 6, 3)


def test_malformed_images_are_refused_with_expected_and_got():
    short = image("rgb8", PIXELS)
    short.data = array.array("B", bytes(10))
    broken = CompressedImage(format="jpeg", data=array.array("B", b"not a jpeg"))
    for message, words in (
        (image("yuv422", PIXELS), "encoding: expected .*rgb8.* got 'yuv422'"),
        (image("rgb8", PIXELS, step=17), "step: expected at least 18 bytes .* got 17"),
        (short, "data: expected 72 bytes .* got 10"),
        (Image(encoding="rgb8"), "size: expected at least 1x1 pixels, got 0x0"),
        (broken, "expected JPEG or PNG data, got 10 bytes"),
    ):
        with pytest.raises(ValueError, match=words):
            conversion.image_to_array(message)


def test_joints_are_matched_by_name():
    message = JointState(name=["c", "a", "b"], position=[3.0, 1.0, 2.0])
    np.testing.assert_array_equal(conversion.joint_positions(message, ["a", "b", "c"]), [1, 2, 3])


def test_malformed_joint_states_are_refused_by_name():
    for message, words in (
        (JointState(name=["a"], position=[1.0]), r"\['b'\] missing"),
        (JointState(name=["a", "b"], position=[1.0]), "position for each of 2 names, got 1"),
        (JointState(name=["a", "b"], position=[1.0, np.nan]), r"NaN or infinity in \['b'\]"),
        (JointState(name=["a", "b", "b"], position=[1.0, 2.0, 3.0]), "distinct names"),
    ):
        with pytest.raises(ValueError, match=words):
            conversion.joint_positions(message, ["a", "b"])


def test_commands_survive_the_wire_in_both_forms():
    names, velocities = ["a", "b"], np.array([0.1, -1 / 3])
    velocity = over_the_wire(conversion.velocity_message(velocities))
    np.testing.assert_array_equal(conversion.velocities_from(velocity, 2), velocities)
    trajectory = over_the_wire(
        conversion.trajectory_message(names, np.array([1.0, 2.0]), velocities, 0.05)
    )
    got = conversion.trajectory_velocities(trajectory, ["b", "a"])
    np.testing.assert_array_equal(got, velocities[::-1])
    assert trajectory.points[0].time_from_start.nanosec == 50_000_000
    np.testing.assert_allclose(trajectory.points[0].positions, [1.005, 2 - 0.05 / 3])


def test_malformed_commands_are_refused():
    with pytest.raises(ValueError, match="expected 7 velocities, got 2"):
        conversion.velocities_from(Float64MultiArray(data=[0.0, 0.0]), 7)
    with pytest.raises(ValueError, match="expected finite"):
        conversion.velocities_from(Float64MultiArray(data=[np.inf]), 1)
    with pytest.raises(ValueError, match=r"joints \['a'\]"):
        conversion.trajectory_velocities(JointTrajectory(joint_names=["b"]), ["a"])


def test_camera_info_projects_the_field_of_view_to_the_border():
    k = np.array(conversion.camera_info_message(64, 64, 35.0, "c").k).reshape(3, 3)
    edge = k @ [0.0, np.tan(np.radians(35.0 / 2)), 1.0]
    assert edge[1] == pytest.approx(63.5)


def test_an_encoded_image_tells_its_size_before_it_is_decoded():
    for ending in (".png", ".jpg"):
        data = cv2.imencode(ending, PIXELS)[1].tobytes()
        assert encoded.size(data) == (4, 6)
        assert encoded.size(data[:9]) is None
    assert encoded.size(b"GIF89a") is None


def test_more_than_any_camera_sends_is_refused_unread():
    png = bytearray(cv2.imencode(".png", PIXELS)[1].tobytes())
    png[16:24] = (60_000).to_bytes(4, "big") * 2
    bomb = CompressedImage(format="png", data=array.array("B", bytes(png)))
    huge = Image(encoding="rgb8", height=1, width=1, step=2**27)
    huge.data = array.array("B", bytes(pictures.MAX_IMAGE_BYTES + 1))
    for message, words in (
        (bomb, "at most 33554432 pixels, got 60000x60000"),
        (huge, "at most 67108864 bytes"),
        (Image(encoding="e" * 10_000_000), "got 'e{40}'$"),
    ):
        with pytest.raises(ValueError, match=words):
            conversion.image_to_array(message)
    crowd = JointState(name=["a"] * 1001, position=[0.0] * 1001)
    with pytest.raises(ValueError, match="at most 1000 names, got 1001"):
        conversion.joint_positions(crowd, ["a"])


def test_a_stamp_that_no_clock_tells_is_refused():
    """A clock of 2^31 s and 4e9 ns ended the policy node: no message holds what they add up to."""
    assert conversion.stamp(Time(sec=2, nanosec=3)) == 2_000_000_003
    for wrong in (Time(sec=2**31 - 1), Time(sec=1, nanosec=10**9)):
        with pytest.raises(ValueError, match="stamp: expected at most 2147482648 s"):
            conversion.stamp(wrong)
