"""The metrics of the paper's Section III-D, as the released code computes them; in 0..1 but for fluency."""

from collections import Counter
from collections.abc import Sequence
from functools import cache
from math import log2
from typing import TYPE_CHECKING

# Not before they are needed: NLTK, which rouge-score loads, too, brings SciPy's statistics, a second of each
# job that scores nothing.
if TYPE_CHECKING:
    from nltk.tokenize import NLTKWordTokenizer
    from rouge_score.rouge_scorer import RougeScorer
    from sacrebleu.metrics import BLEU


@cache
def _bleu(effective_order: bool) -> "BLEU":
    from sacrebleu.metrics import BLEU

    # sacrebleu warns about sentence scores without effective order, which is what the protocol asks for.
    return BLEU(tokenize="13a", smooth_method="none", effective_order=effective_order)


@cache
def _rouge() -> "RougeScorer":
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"], use_stemmer=False)


@cache
def _tokenizer() -> "NLTKWordTokenizer":
    from nltk.tokenize import NLTKWordTokenizer

    return NLTKWordTokenizer()


def exact_match(output: str, reference: str) -> float:
    """Return 1.0 where the texts are the same up to white space at their ends."""
    return float(output.strip() == reference.strip())


def bleu(outputs: Sequence[str], references: Sequence[str], *, effective_order: bool = False) -> float:
    """Return corpus BLEU-4 (Papineni et al., 2002) with the 13a tokenizer and no smoothing.

    With one pair it is sentence BLEU. Without effective order, a text of fewer than four tokens
    scores 0 even where it is identical to its reference; the published numbers have this property.
    """
    return float(_bleu(effective_order).corpus_score(list(outputs), [list(references)]).score) / 100


def rouge_l(output: str, reference: str) -> float:
    """Return the F-measure of ROUGE-L (Lin, 2004) without stemming.

    rouge-score compares lower-case runs of letters and digits only: a text without any scores 0.
    """
    return float(_rouge().score(reference, output)["rougeL"].fmeasure)


def ngram_entropy(text: str) -> float:
    """Return the weighted n-gram entropy of a text in bits (Meng et al., 2022, Section 4).

    The mean of 2/3 of the bigrams' and 4/3 of the trigrams' entropy, over words as NLTK's Treebank-style
    tokenizer finds them. 0 for a text of fewer than two words.
    """
    words = _tokenizer().tokenize(text)
    return (2 / 3 * _entropy(words, 2) + 4 / 3 * _entropy(words, 3)) / 2


def _entropy(words: Sequence[str], n: int) -> float:
    counts = Counter(tuple(words[start : start + n]) for start in range(len(words) - n + 1))
    total = counts.total()
    return -sum(count / total * log2(count / total) for count in counts.values()) + 0.0
