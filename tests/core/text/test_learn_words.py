from dataclasses import replace

import numpy as np
import pytest
import torch
from core_examples import SMALL as ROBOT
from core_examples import body, episode, random_model, tiny

from gato_core.model import to_tensors
from gato_core.spec import Discrete
from gato_core.text.documents import Document
from gato_core.text.generate import stream
from gato_core.text.learn_words import with_words
from gato_core.tokenizer import Tokenizer
from gato_core.vocab import SMALL, Vocabulary

BUTTONS = replace(ROBOT, action=Discrete(7, ("button",)))


@pytest.mark.parametrize("spec", [ROBOT, BUTTONS], ids=["continuous", "discrete"])
@pytest.mark.parametrize("positions", ["relative", "rotary"])
@torch.inference_mode()
def test_a_network_that_gets_words_acts_as_before(positions, spec):
    """Also where discrete and continuous values share their rows."""
    model = random_model(tiny(positions, vocabulary=Vocabulary(0)))
    grown = with_words(model)
    assert not grown.training and grown.config.vocabulary.pieces_sha256 == SMALL.pieces_sha256
    steps = episode(spec, np.random.default_rng(0), 2)
    logits = []
    for network in (model, grown):
        tokenizer = Tokenizer(body(spec=spec), network.config.vocabulary)
        tokens = to_tensors(tokenizer.encode_timesteps(steps.observation, steps.action))
        first, last = tokenizer.action_ids
        logits.append(network(tokens)[:, first:last])
    torch.testing.assert_close(*logits, rtol=0, atol=0)
    assert len(list(stream(grown, Document(("The robot",)), max_tokens=3))) <= 3
    with pytest.raises(ValueError, match="model: expected no text ids, got 4096"):
        with_words(grown)
