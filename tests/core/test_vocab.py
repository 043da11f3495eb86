import numpy as np
import pytest

from gato_core.vocab import NUM_BINS, Vocabulary, bin_centre, bin_index, mu_law


def test_mu_law_matches_the_formula_of_appendix_b():
    x = np.array([0.0, 0.1, 1.0, np.pi, 256.0])
    expected = np.log(100 * x + 1) / np.log(256 * 100 + 1)
    assert np.allclose(mu_law(x), expected)
    assert np.allclose(mu_law(-x), -expected)
    assert mu_law(np.array(256.0)) == 1.0


def test_mu_law_spends_bins_as_the_table_says():
    """|x| <= 1 takes 45.5 % of the bins and |x| <= pi 56.7 %; at 0.6 a bin is 12 mm wide."""
    assert np.isclose(mu_law(np.array(1.0)), 0.455, atol=5e-4)
    assert np.isclose(mu_law(np.array(np.pi)), 0.567, atol=5e-4)
    slope = (mu_law(np.array(0.601)) - mu_law(np.array(0.599))) / 0.002
    assert np.isclose(2 / NUM_BINS / slope, 0.012, atol=5e-4)


def test_companded_values_beyond_m_stay_in_the_last_bin():
    """In a public reproduction 256 and 1000 overflowed into the next range of ids."""
    companded = mu_law(np.array([256.0, 1000.0, -1000.0]))
    assert bin_index(companded).tolist() == [NUM_BINS - 1, NUM_BINS - 1, 0]


def test_bins_are_uniform_and_closed_at_one():
    assert bin_index(np.array([-1.0, -1e-9, 0.0, 1.0, 2.0, -5.0])).tolist() == [
        0,
        511,
        512,
        1023,
        1023,
        0,
    ]


def test_every_bin_survives_a_round_trip():
    bins = np.arange(NUM_BINS)
    assert np.array_equal(bin_index(bin_centre(bins)), bins)


def test_decoding_has_no_bias():
    """Decoding to a bin's lower edge, as a public reproduction does, errs by -0.00098."""
    x = np.random.default_rng(0).uniform(-1, 1, 100_000)
    error = bin_centre(bin_index(x)) - x
    assert np.abs(error).max() <= 1 / NUM_BINS + 1e-7
    assert abs(error.mean()) < 1e-5


def test_ranges_of_the_paper():
    paper = Vocabulary()
    assert (paper.continuous_offset, paper.separator, paper.size) == (32000, 33024, 33025)


def test_discrete_values_may_have_a_range_of_their_own():
    assert Vocabulary(discrete_offset=33025).size == 33025 + 1024


def test_negative_sizes_are_refused():
    with pytest.raises(ValueError, match="num_text: expected >= 0, got -1"):
        Vocabulary(num_text=-1)
