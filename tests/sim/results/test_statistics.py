"""Intervals and the paired test, against published tables and hand counts."""

import pytest

from gato_sim.results.statistics import clopper_pearson, mcnemar, wilson

# successes, episodes, Wilson, Clopper-Pearson: 95 %, to two digits
TABLE = [
    (8, 10, (0.49, 0.94), (0.44, 0.97)),
    (16, 20, (0.58, 0.92), (0.56, 0.94)),
    (40, 50, (0.67, 0.89), (0.66, 0.90)),
    (80, 100, (0.71, 0.87), (0.71, 0.87)),
    (160, 200, (0.74, 0.85), (0.74, 0.85)),
    (400, 500, (0.76, 0.83), (0.76, 0.83)),
    (50, 50, (0.93, 1.0), (0.93, 1.0)),
]


@pytest.mark.parametrize("successes, num, expected_wilson, expected_exact", TABLE)
def test_intervals_match_the_published_table(successes, num, expected_wilson, expected_exact):
    assert wilson(successes, num) == pytest.approx(expected_wilson, abs=0.0051)
    assert clopper_pearson(successes, num) == pytest.approx(expected_exact, abs=0.0051)


@pytest.mark.parametrize("interval", [wilson, clopper_pearson])
def test_intervals_are_symmetric_and_contain_the_rate(interval):
    for num in (1, 7, 20):
        for successes in range(num + 1):
            low, high = interval(successes, num)
            assert 0 <= low <= successes / num <= high <= 1
            mirrored = interval(num - successes, num)
            assert (1 - high, 1 - low) == pytest.approx(mirrored, abs=1e-12)


@pytest.mark.parametrize("interval", [wilson, clopper_pearson])
def test_nothing_tried_says_nothing(interval):
    assert interval(0, 0) == (0, 1)


def test_impossible_counts_are_refused():
    with pytest.raises(ValueError, match=r"successes: expected 0\.\.3, got 4"):
        wilson(4, 3)


def test_mcnemar_counts_by_hand():
    """Ten discordant pairs split 9 to 1: 2 * (1 + 10) / 2**10."""
    first = [True] * 9 + [False] + [True] * 5 + [False] * 5
    second = [False] * 9 + [True] + [True] * 5 + [False] * 5
    test = mcnemar(first, second)
    assert (test.only_first, test.only_second) == (9, 1)
    assert test.p_value == pytest.approx(22 / 1024)
    assert mcnemar(second, first).p_value == test.p_value


def test_mcnemar_ignores_agreement():
    assert mcnemar([True, False] * 50, [True, False] * 50).p_value == 1.0


def test_better_is_said_only_when_the_test_supports_it():
    clear = mcnemar([True] * 9, [False] * 9)
    unclear = mcnemar([True] * 4, [False] * 4)
    assert "ours is better than theirs" in clear.verdict("ours", "theirs")
    assert "theirs is better than ours" in mcnemar([False] * 9, [True] * 9).verdict(
        "ours", "theirs"
    )
    assert "better" not in unclear.verdict("ours", "theirs")


def test_unequal_pairs_are_refused():
    with pytest.raises(ValueError, match="pairs: expected equal lengths, got 1 and 2"):
        mcnemar([True], [True, False])
