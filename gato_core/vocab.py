"""Id ranges of the one vocabulary, and the companding and binning of real numbers into it.

Paper, section 2.1 and appendix B. numpy only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NUM_BINS = 1024


def mu_law(x: np.ndarray, mu: float = 100.0, m: float = 256.0) -> np.ndarray:
    """Real numbers companded so that |x| = m maps to 1; larger ones leave [-1, 1]. Appendix B."""
    return np.sign(x) * np.log(np.abs(x) * mu + 1.0) / np.log(m * mu + 1.0)


def bin_index(x: np.ndarray) -> np.ndarray:
    """Reals in [-1, 1] to int32 bins in [0, 1024); values outside are clipped. Section 2.1."""
    index = np.floor((np.clip(x, -1.0, 1.0) + 1.0) * (NUM_BINS / 2)).astype(np.int32)
    # x == 1 would be bin 1024, the first id of the next range
    return np.minimum(index, NUM_BINS - 1)


def bin_centre(index: np.ndarray) -> np.ndarray:
    """Bins in [0, 1024) to the float32 centres of their intervals in [-1, 1]."""
    return ((2.0 * np.asarray(index) + 1.0) / NUM_BINS - 1.0).astype(np.float32)


@dataclass(frozen=True)
class Vocabulary:
    """Text ids, then the bins of continuous values, then the separator.

    discrete_offset: first id of discrete values. 0 is the paper's literal reading, in which they
    share the lowest ids with text; an offset past the separator gives them a range of their own.
    pieces_sha256: which strings the text ids are, by `pieces.sha256`; None where there are none.
    """

    num_text: int = 32000
    discrete_offset: int = 0
    pieces_sha256: str | None = None

    def __post_init__(self) -> None:
        if self.num_text < 0:
            raise ValueError(f"num_text: expected >= 0, got {self.num_text}")
        if self.discrete_offset < 0:
            raise ValueError(f"discrete_offset: expected >= 0, got {self.discrete_offset}")

    def __str__(self) -> str:
        """How many pieces of words there are, and the beginning of their hash."""
        named = f"SHA-256 {self.pieces_sha256[:8]}" if self.pieces_sha256 else "unnamed"
        return f"{self.num_text} pieces, {named}"

    @property
    def continuous_offset(self) -> int:
        return self.num_text

    @property
    def separator(self) -> int:
        return self.num_text + NUM_BINS

    @property
    def size(self) -> int:
        return max(self.separator + 1, self.discrete_offset + NUM_BINS)


# the shipped ones: of the paper's size, and for networks in which 32,000 rows would be the most
ENGLISH = Vocabulary(
    32000,
    pieces_sha256="2b1ad936ce490f074e4a7989ae10f99c747df948150d76f68d2fb1ce8dc29cfd",
)
SMALL = Vocabulary(
    4096,
    pieces_sha256="501e6ac2be56a82d810b00db21a518589b0d5add7301c81061fbb3fe27337ee0",
)
