"""The metrics against values that were computed by hand."""

from math import exp, log2

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clme.evaluation import metrics

MAT, RUG = "the cat sat on the mat", "the cat sat on the rug"


@pytest.mark.parametrize(
    ("output", "reference", "expected"),
    [
        ("x = 1", "x = 1", 1),
        (" x = 1\n", "x = 1", 1),
        ("x = 2", "x = 1", 0),
        ("x  = 1", "x = 1", 0),
        ("", "x", 0),
    ],
)
def test_exact_match_is_up_to_white_space_at_the_ends(output, reference, expected):
    assert metrics.exact_match(output, reference) == expected


def test_bleu_of_a_sentence():
    """Precisions 5/6, 4/5, 3/4, 2/3 and no brevity: the fourth root of their product, 1/3."""
    assert metrics.bleu([RUG], [MAT]) == pytest.approx((1 / 3) ** (1 / 4))
    assert metrics.bleu([MAT], [MAT]) == pytest.approx(1)


def test_bleu_of_a_short_output():
    """All n-grams are right; 4 tokens for 6 cost exp(1 - 6/4)."""
    assert metrics.bleu(["the cat sat on"], [MAT]) == pytest.approx(exp(-0.5))


def test_bleu_has_no_smoothing():
    """Three of four unigrams, two of three bigrams, one of two trigrams, and no 4-gram."""
    assert metrics.bleu(["a b c x"], ["a b c d"]) == 0


@pytest.mark.parametrize("text", ["x", "x = 1", "f()", "a b c"])
def test_an_exact_match_below_four_tokens_has_no_bleu(text):
    """The published numbers have this property; only the effective order gives such texts a score."""
    assert metrics.exact_match(text, text) == 1
    assert metrics.bleu([text], [text]) == 0
    assert metrics.bleu([text], [text], effective_order=True) == pytest.approx(1)


def test_the_13a_tokenizer_parts_punctuation():
    """`a, b` are three tokens, and a fourth with the full stop: enough for a score."""
    assert metrics.bleu(["a, b."], ["a, b."]) == pytest.approx(1)
    assert metrics.bleu(["a, b"], ["a, b"]) == 0


def test_bleu_of_a_corpus_adds_the_counts_up():
    """Unigrams 5+2 of 6+2, bigrams 4+1 of 5+1, trigrams 3 of 4, 4-grams 2 of 3; lengths 8 and 8."""
    expected = (7 / 8 * 5 / 6 * 3 / 4 * 2 / 3) ** (1 / 4)
    assert metrics.bleu([RUG, "a b"], [MAT, "a b"]) == pytest.approx(expected)


def test_bleu_of_nothing():
    assert metrics.bleu([""], [MAT]) == 0
    assert metrics.bleu([""], [MAT], effective_order=True) == 0


@pytest.mark.parametrize(
    ("output", "reference", "expected"),
    [
        (MAT, MAT, 1),
        (RUG, MAT, 5 / 6),
        # The longest common subsequence is "a c": precision 2/3, recall 2/4.
        ("a b c", "a c d e", 2 * (2 / 3 * 1 / 2) / (2 / 3 + 1 / 2)),
        # The order matters: of "c b a" and "a b c" one word is common.
        ("c b a", "a b c", 1 / 3),
        # No stemming, lower case, runs of letters and digits.
        ("sorted list", "sort list", 1 / 2),
        ("X.Sort()", "x sort", 1),
        ("()", "()", 0),
        ("", "a", 0),
    ],
)
def test_rouge_l(output, reference, expected):
    assert metrics.rouge_l(output, reference) == pytest.approx(expected)


def entropy(*counts):
    return -sum(count / sum(counts) * log2(count / sum(counts)) for count in counts)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # Bigrams ab ab ba, trigrams aba bab.
        ("a b a b", (2 / 3 * entropy(2, 1) + 4 / 3 * 1) / 2),
        # One bigram four times, one trigram three times.
        ("a a a a a", 0),
        # Eight different words: 7 bigrams, 6 trigrams.
        ("a b c d e f g h", (2 / 3 * log2(7) + 4 / 3 * log2(6)) / 2),
        # do n't stop . are four words.
        ("don't stop.", (2 / 3 * log2(3) + 4 / 3 * 1) / 2),
        ("a b", 0),
        ("a", 0),
        ("", 0),
    ],
)
def test_entropy_of_n_grams(text, expected):
    assert metrics.ngram_entropy(text) == pytest.approx(expected)
    assert metrics.ngram_entropy(text) >= 0


@settings(max_examples=100, deadline=None)
@given(st.text("ab ,.()\n", max_size=30), st.text("ab ,.()\n", max_size=30))
def test_bounds(output, reference):
    for value in (
        metrics.exact_match(output, reference),
        metrics.bleu([output], [reference]),
        metrics.bleu([output], [reference], effective_order=True),
        metrics.rouge_l(output, reference),
    ):
        assert 0 <= value <= 1 + 1e-12
    assert metrics.rouge_l(output, reference) == pytest.approx(metrics.rouge_l(reference, output))
    assert (
        metrics.bleu([output], [reference])
        <= metrics.bleu([output], [reference], effective_order=True) + 1e-12
    )
