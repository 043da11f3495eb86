"""Captions and answers say what is true of the moment that their picture shows."""

import numpy as np
import pytest

from gato_sim.domains.rgb_stacking import captions
from gato_sim.domains.rgb_stacking.facts import Facts, facts, seen
from gato_sim.domains.rgb_stacking.simulation import Simulation

CAMERA = "basket_front_left"
FLOOR = 0.0498
STACK = Facts(
    on={"red": "blue"},
    floor=frozenset({"blue", "green"}),
    held=None,
    gripper="open",
    across={"red": 0.3, "blue": 0.32, "green": 0.7},
)
HELD = Facts({}, frozenset({"red", "blue"}), "green", "holding", dict(red=0.1, green=0.5, blue=0.8))


@pytest.fixture(scope="module")
def simulation():
    simulation = Simulation(("s0", "s0", "s0"), physics="stable")
    yield simulation
    simulation.close()


def pose(x, y, z):
    return np.array([x, y, FLOOR + z, 1, 0, 0, 0])


def placed(simulation, **poses):
    """Half a second after the objects were put somewhere, the arm up."""
    simulation.reset(np.random.default_rng(0))
    for color, where in poses.items():
        simulation.place_object(color, where)
    for _ in range(10):
        simulation.step()
    return simulation


def test_a_stack_is_seen_as_one(simulation):
    places = dict(blue=pose(0.6, 0, 0.025), red=pose(0.6, 0, 0.0751), green=pose(0.55, 0.1, 0.025))
    found = facts(placed(simulation, **places), CAMERA)
    assert found.on == {"red": "blue"} and found.floor == {"blue", "green"}
    assert found.place == {"red": "blue", "blue": "floor", "green": "floor"}
    assert found.held is None


def test_what_the_fingers_hold_is_held_and_lies_nowhere(simulation):
    placed(simulation, blue=pose(0.6, 0.1, 0.025), green=pose(0.55, -0.1, 0.025))
    pinch = simulation.pinch_pose
    simulation.command(np.array([0, 0, 0, 0, 0, 0, 0, 255.0]))
    for step in range(30):
        if step < 15:
            simulation.place_object("red", np.concatenate([pinch[:3], [1, 0, 0, 0]]))
        simulation.step()
    whole = facts(simulation, CAMERA, (0.0, -1.0, 1.0, 2.0))  # a picture that shows more above
    assert (whole.held, whole.gripper) == ("red", "holding")
    assert whole.floor == {"blue", "green"} and whole.on == {}
    below = facts(simulation, CAMERA)  # without the gripper, which is above it
    assert (below.held, below.gripper) == (None, "") and "red" not in below.place


def test_left_and_right_are_those_of_the_picture(simulation):
    places = dict(red=pose(0.6, -0.08, 0.025), green=pose(0.6, 0.0, 0.025))
    placed(simulation, blue=pose(0.6, 0.08, 0.025), **places)
    for camera in (CAMERA, "basket_front_right"):
        image = simulation.render(camera, 128)
        assert seen(image) == {"red", "green", "blue"}
        found = facts(simulation, camera)
        for channel, color in enumerate(("red", "green", "blue")):
            others = np.delete(image, channel, axis=2).max(2).astype(int)
            columns = np.nonzero(image[..., channel].astype(int) - others > 60)[1]
            assert found.across[color] == pytest.approx(columns.mean() / 128, abs=0.04)


def test_an_object_out_of_sight_is_missed(simulation):
    placed(simulation, red=pose(0.6, 0, 0.025), green=pose(0.6, 0.1, 0.025))
    simulation.place_object("blue", np.array([2.0, 2.0, -1.0, 1, 0, 0, 0]))
    assert seen(simulation.render(CAMERA, 64)) == {"red", "green"}


def answers(found: Facts) -> dict[str, str]:
    """Everything that is ever asked about a moment, and the one answer to it."""
    pairs = {
        pair for s in range(400) for pair in captions.questions(found, np.random.default_rng(s))
    }
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def test_every_question_has_one_answer_and_it_is_true():
    told = answers(STACK)
    assert told == {
        "which object is on top of another?": "the red one",
        "how many objects lie on the floor of the basket?": "2",
        "where is the red object?": "on the blue object",
        "where is the green object?": "on the floor of the basket",
        "where is the blue object?": "on the floor of the basket",
        "is the red object on the blue one?": "yes",
        "is the red object on the green one?": "no",
        "is the green object on the red one?": "no",
        "is the green object on the blue one?": "no",
        "is the blue object on the red one?": "no",
        "is the blue object on the green one?": "no",
        "is the gripper open?": "yes",
        "what does the gripper hold?": "nothing",
        "is the red object left or right of the green one?": "left",
        "is the green object left or right of the red one?": "right",
        "is the blue object left or right of the green one?": "left",
        "is the green object left or right of the blue one?": "right",
    }
    held = answers(HELD)
    assert held["what does the gripper hold?"] == "the green object"
    assert held["which object is on top of another?"] == "none"
    assert held["where is the green object?"] == "in the gripper"
    assert held["is the gripper open?"] == "no"


def test_nothing_is_asked_or_said_about_what_is_in_doubt():
    """An object in the air, and a gripper out of the picture."""
    doubt = Facts({}, frozenset({"red", "blue"}), None, "", {"red": 0.1, "green": 0.5, "blue": 0.8})
    told = answers(doubt)
    assert "which object is on top of another?" not in told
    assert "where is the green object?" not in told
    assert not any("gripper" in question for question in told)
    assert not any(question.startswith("is the green object on") for question in told)
    texts = {captions.caption(doubt, np.random.default_rng(seed)) for seed in range(50)}
    assert not any(word in text for text in texts for word in ("green", "gripper", "fingers"))


def test_yes_is_as_frequent_as_no():
    asked = [
        answer
        for seed in range(3000)
        for question, answer in captions.questions(STACK, np.random.default_rng(seed))
        if question.startswith("is the") and " on the " in question
    ]
    assert 0.45 < np.mean([answer == "yes" for answer in asked]) < 0.55


def test_captions_vary_in_words_and_not_in_what_they_say():
    texts = {captions.caption(STACK, np.random.default_rng(seed)) for seed in range(100)}
    assert len(texts) > 6
    for text in texts:
        assert "red object" in text and "open" in text and "green" in text
        assert text.endswith(".") and text[0].isupper()
        assert "holds" not in text and "closed" not in text
