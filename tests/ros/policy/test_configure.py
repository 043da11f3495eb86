"""What the policy node refuses before anything moves, in this process."""

import contextlib
import re
from dataclasses import replace

import pytest
import rclpy
import ros_examples
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter

from gato_core import checkpoint
from gato_core.embodiment import Embodiment
from gato_core.model import Gato, preset
from gato_core.spec import Spec
from gato_ros.policy.node import PolicyNode
from gato_sim.domains.rgb_stacking.tasks import robot_spec

# A node whose constructor raised may linger in the graph: keep it from the nodes of other tests.
DOMAIN = ros_examples.own_domain()


@contextlib.contextmanager
def policy_node(**parameters):
    arguments = ["--ros-args"]
    for name, value in ({"use_sim_time": True} | parameters).items():
        arguments += ["-p", f"{name}:={value}"]
    with ros_examples.environment(DOMAIN):
        rclpy.init(args=arguments)
        try:
            node = PolicyNode()
            yield node
            node.destroy_node()
        finally:
            rclpy.try_shutdown()


@contextlib.contextmanager
def refusing(words: str, **parameters):
    """The node refuses to configure, publishes nothing, and says why."""
    with policy_node(**parameters) as node:
        assert node.trigger_configure() == TransitionCallbackReturn.FAILURE
        assert node.count_publishers("arm_velocity_controller/commands") == 0
        with pytest.raises((ValueError, FileNotFoundError), match=words):
            node.load_control()
        yield


def test_a_checkpoint_for_another_robot_is_refused_with_the_differences(tmp_path):
    spec = robot_spec()
    slow = Spec(spec.observation, spec.action, control_timestep=0.1)
    checkpoint = ros_examples.save_checkpoint(tmp_path / "slow", slow)
    with refusing("control_timestep: expected 0.05, got 0.1", checkpoint=checkpoint):
        pass
    words = "basket_front_left/pixels.height: expected 128, got 64"
    with refusing(words, checkpoint=checkpoint, image_size=128, control_rate=10.0):
        pass


def test_a_damaged_checkpoint_is_refused(tmp_path):
    damaged = ros_examples.save_checkpoint(tmp_path / "damaged")
    content = bytearray((damaged / "model.safetensors").read_bytes())
    content[-1] ^= 0xFF
    (damaged / "model.safetensors").write_bytes(content)
    with refusing("SHA-256", checkpoint=damaged):
        pass


def test_a_missing_checkpoint_is_refused(tmp_path):
    with refusing("nowhere: expected a file or folder", checkpoint=tmp_path / "nowhere"):
        pass


def test_a_sound_checkpoint_configures_and_shutdown_leaves_no_publisher(tmp_path):
    with policy_node(checkpoint=ros_examples.save_checkpoint(tmp_path / "sound")) as node:
        assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
        assert node.count_publishers("arm_velocity_controller/commands") == 1
        assert node.trigger_shutdown() == TransitionCallbackReturn.SUCCESS
        assert node.count_publishers("arm_velocity_controller/commands") == 0


def test_actions_are_drawn_at_the_checkpoints_own_temperature_unless_one_is_given(tmp_path):
    model = Gato(preset("debug"))
    checkpoint.save(
        tmp_path / "warm", model, Embodiment("robot", robot_spec(), temperature=0.7), {}
    )
    for given, expected in (({}, 0.7), ({"temperature": 0.0}, 0.0), ({"temperature": 2.0}, 2.0)):
        with policy_node(checkpoint=tmp_path / "warm", **given) as node:
            assert node.load_control().policy.temperature == expected


def test_the_embodiment_that_fits_is_taken_and_two_that_fit_are_both_named(
    tmp_path,
):
    """By its name either may be asked for; one that does not fit is refused with what differs."""
    one = Embodiment("one", robot_spec())
    slow = Embodiment("slow", replace(robot_spec(), control_timestep=0.5))
    twin = replace(one, name="twin", action_mode="parallel")
    model = Gato(preset("debug"))
    checkpoint.save(tmp_path / "fits", model, [slow, one], {})
    checkpoint.save(tmp_path / "twins", model, [one, twin], {})
    with policy_node(checkpoint=tmp_path / "fits") as node:
        assert node.load_control().policy.embodiment == one
    with policy_node(checkpoint=tmp_path / "twins", embodiment="twin") as node:
        assert node.load_control().policy.embodiment == twin
    with refusing("expected one that fits, or its name, got", checkpoint=tmp_path / "twins"):
        pass
    with refusing(re.escape("['one', 'twin'] that do"), checkpoint=tmp_path / "twins"):
        pass
    with refusing("control_timestep", checkpoint=tmp_path / "fits", embodiment="slow"):
        pass
    known = re.escape("expected one of ['one', 'slow']")
    with refusing(known, checkpoint=tmp_path / "fits", embodiment="x"):
        pass


def test_parameters_out_of_range_are_refused():
    with pytest.raises(rclpy.exceptions.InvalidParameterValueException, match="temperature"):
        with policy_node(temperature=-1.5):
            pass
    with pytest.raises(ValueError, match="trigger: expected one of .*'joints', 'clock'.*'never'"):
        with policy_node(trigger="never"):
            pass
    late = "release_after: expected less than a control timestep, 0.05 s, got 0.05"
    with pytest.raises(ValueError, match=late):
        with policy_node(release_after=0.05):
            pass
    with pytest.raises(rclpy.exceptions.InvalidParameterValueException, match="priority"):
        with policy_node(**{"realtime.priority": 99}):
            pass
    with pytest.raises(ValueError, match=r"realtime.cpus: expected some of .*got \[4096\]"):
        with policy_node(**{"realtime.cpus": "[4096]"}):
            pass


def test_a_real_robot_is_not_configured_without_a_gentle_start(tmp_path):
    folder = ros_examples.save_checkpoint(tmp_path / "sound")
    gentle = {"safety.soft_start": 2.0, "safety.max_jump": 0.3}
    for name in gentle:
        words = f"{name}: expected more than 0 on a real robot .use_sim_time is false.*beginning"
        with refusing(words, checkpoint=folder, use_sim_time=False, **gentle | {name: 0.0}):
            pass
    with policy_node(checkpoint=folder, use_sim_time=False, **gentle) as node:
        assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS


def test_an_exception_in_a_transition_is_told(tmp_path, capfd):
    """A RuntimeError in configure and a MemoryError in activate gave False and an empty log."""

    def fail(error: Exception):
        def raises(*_):
            raise error

        return raises

    error = TransitionCallbackReturn.ERROR
    with policy_node(checkpoint=ros_examples.save_checkpoint(tmp_path / "sound")) as node:
        load_control, node.load_control = node.load_control, fail(RuntimeError("no kernel"))
        assert node.trigger_configure() == error
        assert "on_configure failed: RuntimeError('no kernel')" in capfd.readouterr().err
        node.load_control = load_control
        assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS, "unconfigured again"
        node.control.warm_up = fail(MemoryError("48 GB"))
        assert node.trigger_activate() == error
        assert "on_activate failed: MemoryError('48 GB')" in capfd.readouterr().err
        assert node.count_publishers("arm_velocity_controller/commands") == 0


def test_limits_hold_for_the_sawyer_without_a_description_too():
    """They were ignored: asked for 0.05 rad/s, it was sent 0.845."""
    slow = {"arm.velocity_limits": "[0.05, 0.05, 0.05, 0.05, 0.05, 0.05, 0.05]"}
    rest = {"arm.rest_angles": "[0.0, -0.6, -0.5, 1.2, 0.4, 1.1, 0.0]"}
    with policy_node(**slow, **rest, **{"arm.workspace_low": "[0.5, -0.1, 0.2]"}) as node:
        arm = node.parameters.robot().arm
    assert arm.velocity_limits.tolist() == [0.05] * 7
    assert arm.rest_angles[1] == -0.6 and arm.workspace_low.tolist() == [0.5, -0.1, 0.2]
    for parameters, words in (
        ({"arm.velocity_limits": "[0.05]"}, "velocity_limits: expected 7 numbers above 0"),
        ({"arm.pinch_frame": "tool0"}, "pinch_frame: expected 'pinch', the Sawyer's, as"),
        ({"arm.joints": "['a', 'b']"}, "arm.joints: expected .*right_j0.*got .'a', 'b'"),
    ):
        with policy_node(**parameters) as node, pytest.raises(ValueError, match=words):
            node.parameters.robot()


def test_parameters_cannot_change_under_a_running_policy(tmp_path):
    with policy_node() as node:
        for name, value in (("checkpoint", str(tmp_path)), ("use_sim_time", False)):
            (result,) = node.set_parameters([Parameter(name, value=value)])
            assert not result.successful and "read-only" in result.reason


def test_parameters_without_effect_are_warned_of(capfd):
    given = {"arm.base_frame": "table", "gripper.settle": 0.5, "seed": 3, "temperature": 0.0}
    with policy_node(**given):
        pass
    warned = capfd.readouterr().err
    for name in ("arm.base_frame: 'table'", "gripper.settle: 0.5", "seed: 3"):
        assert f"parameter {name} has no effect: " in warned
    with policy_node(command="twist", gripper_command="position", **given | {"temperature": 1.0}):
        pass
    assert "no effect" not in capfd.readouterr().err
