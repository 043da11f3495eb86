"""Demonstrations with words are learned from in the network's own vocabulary."""

from dataclasses import replace

import numpy as np
from dataset_examples import SPEC, make_episode

from gato_core.dataset import Dataset, DatasetWriter
from gato_core.embodiment import Embodiment
from gato_core.spec import Text
from gato_core.text import pieces
from gato_core.tokenizer import Tokenizer
from gato_core.vocab import ENGLISH, SMALL
from gato_training.sequences import Sampling, Sequences

TOLD = replace(SPEC, observation={"instruction": Text(5), **SPEC.observation})


def test_each_timestep_of_a_batch_says_what_its_episode_was_told(tmp_path):
    """Also behind a prompt, and whatever the vocabulary."""
    with DatasetWriter(tmp_path, TOLD) as writer:
        for seed in range(4):
            episode = make_episode(2 * seed)
            episode.observation["instruction"] = np.full(len(episode), f"lift {seed}", object)
            writer.add(episode)
    dataset = Dataset(tmp_path)
    first = list(TOLD.observation).index("instruction")
    before = sum(m.num_tokens for m in list(TOLD.observation.values())[:first])
    for vocabulary in (ENGLISH, SMALL):
        tokenizer = Tokenizer(Embodiment("robot", TOLD), vocabulary)
        sampling = Sampling(3, 6, 0, prompt_fraction=1.0, prompt_timesteps=1)
        sequences = Sequences([dataset], [range(4)], tokenizer, sampling)
        id = sequences.batch(0).tokens.id.reshape(6, 3, TOLD.tokens_per_timestep)
        for row, drawn in zip(id, sequences.draw(0)):
            episodes = [piece.episode for piece in drawn for _ in range(piece.start, piece.stop)]
            expected = [pieces.fit(f"lift {number}", 5, vocabulary) for number in episodes]
            assert np.array_equal(row[:, before : before + 5], expected)
