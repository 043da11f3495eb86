"""The simulated robot: RGB-stacking in MuJoCo behind the topics of a real one.

A control step begins with the publication of the state. The command that answers it within the
step acts on the whole step, as in the benchmark, where the world waits for the policy; without an
answer the last command goes on, and after `command_timeout` the arm stands still. An episode
begins with its first command: until then time passes but nothing moves.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator

import numpy as np
from builtin_interfaces.msg import Time
from rclpy.duration import Duration
from rclpy.node import Node
from std_msgs.msg import Float64MultiArray, String
from std_srvs.srv import SetBool, Trigger
from trajectory_msgs.msg import JointTrajectory

import gato_sim
from gato_ros.common import conversion, topics
from gato_ros.common.cadence import NEWEST, CpuMeter, summary
from gato_ros.common.guard import Guarded
from gato_ros.common.ingest import Gripper
from gato_ros.common.reading import trajectory_velocities, velocities_from
from gato_ros.common.stopping import Stop
from gato_ros.sim import parameters as sim_parameters
from gato_ros.sim.expert import ExpertSource
from gato_ros.sim.faults import Faults
from gato_ros.sim.motors import CommandInput
from gato_ros.sim.pacing import Pace
from gato_ros.sim.sensors import StateOutput
from gato_sim.arm.sawyer import CONTROL_TIMESTEP, JOINT_NAMES
from gato_sim.results import video

STEP_NS = round(CONTROL_TIMESTEP * 1e9)
REPORT_STEPS = 5  # between messages about the episode
VIDEO_SIZE = (240, 320)  # pixels, height and width
RESET_TIMEOUT = 30.0  # s
LOCK_STEP_PATIENCE = 1.0  # s to wait for an answer before time goes on
OUTCOMES = ("success_end", "success_ever", "success_strict")
MAX_RESULTS = 100  # of the newest episodes in a message


class SimNode(Guarded, Node):
    """Topics and parameters are tabulated in docs/ros.md."""

    def __init__(self) -> None:
        super().__init__("sim_node")
        self.parameters = parameters = sim_parameters.declare_all(self)
        self.keep_clock()
        self.env = gato_sim.load(
            parameters.task,
            seed=parameters.seed,
            physics=parameters.physics,
            cameras=parameters.cameras,
            image_size=parameters.image_size,
            view=parameters.view,
            randomise=parameters.randomise,
        )
        self._expert: ExpertSource | None = None
        self._expert_wanted = False
        self._gripper = Gripper()
        self._num_held = 0  # steps of success with the gripper away
        self._time = STEP_NS  # never 0, which means "no stamp"
        self._commands = CommandInput(parameters.command_timeout)
        self._pace = Pace(CONTROL_TIMESTEP, parameters.real_time_factor)
        self._cpu = CpuMeter()
        self._answers: deque[float] = deque(maxlen=NEWEST)
        self._compute = 0.0  # s from an answer to the next state, a running mean
        self._computing_since = self._published_at = time.monotonic()
        self._num_steps = self._num_answered = 0
        self._step_seconds = 0.0  # of wall time, from state to state
        self._results: list[dict] = []
        self._progress: dict = {}
        self._video_every = self.parameters.video_every
        self._reset_asked, self._reset_done = threading.Event(), threading.Event()
        self._create_outputs()
        self._create_inputs()

    def _create_outputs(self) -> None:
        parameters = self.parameters
        latency = round(parameters.camera_latency / CONTROL_TIMESTEP)
        self._faults = Faults(latency, parameters.drop_probability, parameters.seed)
        self._output = StateOutput(
            self, self.env, self._faults, ground_truth=parameters.ground_truth
        )
        self._episode = self.create_publisher(String, topics.EPISODE, topics.LATCHED)
        self._episode_start = self.create_publisher(Time, topics.EPISODE_START, topics.LATCHED)

    def _create_inputs(self) -> None:
        subscribe, qos = self.create_subscription, topics.COMMAND
        subscribe(Float64MultiArray, topics.ARM_VELOCITY, self._on_velocity, qos)
        subscribe(JointTrajectory, topics.ARM_TRAJECTORY, self._on_trajectory, qos)
        subscribe(Float64MultiArray, topics.GRIPPER_VELOCITY, self._on_gripper, qos)
        self.create_service(Trigger, "~/reset", self._on_reset)
        self.create_service(SetBool, "~/expert", self._on_expert)

    # Callbacks, in the background thread.

    def _on_velocity(self, message: Float64MultiArray) -> None:
        with self._reported_errors():
            self._put_arm(velocities_from(message, len(JOINT_NAMES)))

    def _on_trajectory(self, message: JointTrajectory) -> None:
        with self._reported_errors():
            self._put_arm(trajectory_velocities(message, JOINT_NAMES))

    def _put_arm(self, velocities: np.ndarray) -> None:
        if not self._faults.is_lost(topics.ARM_VELOCITY):
            self._commands.put_arm(velocities, self._time / 1e9)

    def _on_gripper(self, message: Float64MultiArray) -> None:
        with self._reported_errors():
            velocity = velocities_from(message, 1)[0]
            self._commands.put_gripper(self._gripper.command(velocity))

    @contextlib.contextmanager
    def _reported_errors(self) -> Iterator[None]:
        """A command that makes no sense is refused and reported; the watchdog sees to the rest."""
        try:
            yield
        except ValueError as error:
            self.get_logger().error(f"command refused: {error}", throttle_duration_sec=1.0)

    def _on_reset(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._reset_done.clear()
        self._reset_asked.set()
        response.success = self._reset_done.wait(RESET_TIMEOUT)
        response.message = "a new episode awaits its first command"
        return response

    def _on_expert(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self._expert_wanted = request.data
        response.success = True
        response.message = "the expert acts" if request.data else "the expert rests"
        return response

    # The simulation, in the main thread.

    def run(self, stop: Stop) -> None:
        """Runs episodes until there were enough, or `stop`."""
        recording = contextlib.nullcontext()
        if self.parameters.video:
            fps = 1 / (CONTROL_TIMESTEP * self._video_every)
            recording = video.mp4_writer(self.parameters.video, fps=fps)
        with recording as add_frame:
            while not stop.is_set() and not self._is_finished():
                self._run_episode(stop, add_frame)
        self._report_episode()
        self._episode.wait_for_all_acked(Duration(seconds=1))
        self.env.close()

    def _is_finished(self) -> bool:
        return 0 < self.parameters.episodes <= len(self._results)

    def _run_episode(self, stop: Stop, add_frame: Callable[[np.ndarray], None] | None) -> None:
        self._begin_episode()
        while self._progress["step"] < self.parameters.episode_steps and not self._is_done():
            self._publish_state(stop)
            self._film(add_frame)
            answered = self._await_command(stop)
            if self._is_interrupted(stop):
                return
            if self._commands.has_begun:
                self._advance(answered)
                self._note_progress()
            self._time += STEP_NS
            if self._progress["step"] % REPORT_STEPS == 0:
                self._report_episode()
        self._report_episode()  # the last step too, whatever its number
        self._results.append({"triplet": list(self.env.triplet), **self._progress})

    def _is_done(self) -> bool:
        return 0 < self.parameters.stop_after <= self._num_held

    def _begin_episode(self) -> None:
        self.env.reset()
        self._faults.restart()
        self._num_held = 0
        if self._expert:
            self._expert.reset()
        self._progress = {"step": 0} | dict.fromkeys(OUTCOMES, False)
        self._filmed = -1
        self._commands.restart()
        self._reset_asked.clear()
        self._reset_done.set()
        self._pace.restart()
        self._computing_since = time.monotonic()
        # its stamp is that of the first state, published after it
        self._episode_start.publish(conversion.time_message(self._time))

    def _publish_state(self, stop: Stop) -> None:
        """Renders, then publishes the state at the step's deadline."""
        self._output.prepare(self._time)
        self._compute += 0.1 * (time.monotonic() - self._computing_since - self._compute)
        self._pace.wait(stop)
        self._commands.expect()
        self._output.publish()
        now = time.monotonic()
        if self._progress["step"]:
            self._step_seconds += now - self._published_at
        self._published_at = now
        self._let_expert_act()

    def _let_expert_act(self) -> None:
        """Its publishers exist only while it acts: a policy does not move a robot that has two."""
        if self._expert is None and self._expert_wanted:
            self._expert = ExpertSource(self, self.env)
        elif self._expert is not None and not self._expert_wanted:
            self._expert.close()
            self._expert = None
        if self._expert is not None:
            self._expert.act(conversion.time_message(self._time))

    def _await_command(self, stop: Stop) -> bool:
        """Whether the state just published was answered before the step had to be computed."""
        period = self._pace.period
        # an answer is worth a state that is a tenth of a period late: the schedule is absolute
        patience = self._pace.remaining() - min(self._compute, 0.8 * period) + 0.1 * period
        if self.parameters.lock_step or not period:
            patience = LOCK_STEP_PATIENCE
        end = time.monotonic() + patience
        answered = self._commands.wait(patience)
        while not answered and time.monotonic() < end and not self._is_interrupted(stop):
            answered = self._commands.wait(min(0.1, end - time.monotonic()))
        self._computing_since = time.monotonic()
        return answered

    def _advance(self, answered: bool) -> None:
        simulation = self.env.simulation
        ctrl = self._commands.ctrl(self._time / 1e9)
        simulation.command(ctrl, after=self.parameters.command_latency)
        simulation.step()
        self._num_steps += 1
        self._num_answered += answered
        if answered:
            self._answers.append(self._commands.arrived_at - self._published_at)

    def _is_interrupted(self, stop: Stop) -> bool:
        return stop.is_set() or self._reset_asked.is_set()

    def _note_progress(self) -> None:
        success = self.env.success()
        self._progress = {
            "step": self._progress["step"] + 1,
            "success_end": success,
            "success_ever": self._progress["success_ever"] or success,
            "success_strict": success and self.env.success_strict(),
        }
        is_away = success and not self.env.stages()["reached"]
        self._num_held = self._num_held + 1 if is_away else 0

    def _film(self, add_frame: Callable[[np.ndarray], None] | None) -> None:
        """Draws the robot, what the policy sees and how it goes, while the policy is computing."""
        step = self._progress["step"]
        if add_frame is None or step == self._filmed or step % self._video_every:
            return
        self._filmed = step
        lines = [
            f"episode {len(self._results) + 1}  {', '.join(self.env.triplet)}",
            f"{step * CONTROL_TIMESTEP:.1f} s",
            "stacked" if self._progress["success_end"] else "",
        ]
        robot = self.env.simulation.render("overview", VIDEO_SIZE)
        add_frame(video.compose(robot, [*self._output.images.values()], lines))

    def _report_episode(self) -> None:
        results = self._results
        report = {
            "task": self.parameters.task,
            "physics": self.parameters.physics,
            "episode": len(results) + (not self._is_finished()),
            "num_episodes": self.parameters.episodes,
            "triplet": list(self.env.triplet),
            "objects": self.env.objects,
            "num_steps": self.parameters.episode_steps,
            **self._progress,
            "results": results[-MAX_RESULTS:],
            "num_finished": len(results),
            "num_success_end": sum(result["success_end"] for result in results),
            "num_success_ever": sum(result["success_ever"] for result in results),
            "is_finished": self._is_finished(),
            "robot": {
                "num_steps": self._num_steps,
                "num_answered_in_step": self._num_answered,
                "real_time_factor": self._num_steps
                * CONTROL_TIMESTEP
                / (self._step_seconds or 1.0),
                "num_late": self._pace.num_late,
                "num_dropped": self._faults.num_dropped,
                "num_command_timeouts": self._commands.num_timeouts,
                "cpu_cores": self._cpu.cores(),
                "answer_ms": summary(np.array(self._answers)),
            },
        }
        self._episode.publish(String(data=json.dumps(report)))
