"""The ten rows of the study on the `transformers` model: one request at a time, with hooks and `generate`.

What the other references make of a request is put on the model, the request's prompts are continued one after
the other by `generate`, and the model is put back. Neither caches across requests nor batches.
"""

import contextlib
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import torch

import rank_one
from clme.editors.contexts import Contexts
from clme.randomness import generator
from clme.tensors import read_tensors
from reference import fine_tuned_weight, grace_value, module_inputs
from reference_malmen import pairs, shift

EASE = {"pmet": SimpleNamespace(factor=0.1, kl=0.01)}
POOL = {"grace": "last", "a_grace": "mean", "a_grace_wo_cl": "mean", "a_grace_wo_mean": "last"}


@dataclass(frozen=True)
class Said:
    """A greedy continuation.

    Attributes:
        ids: its tokens; the end token is one of them.
        runners_up: the second likeliest token at each place.
        margins: by how much its logit was below that of the token that was taken.
    """

    ids: tuple[int, ...]
    runners_up: tuple[int, ...]
    margins: tuple[float, ...]


class PlainRow:
    """One row of the study.

    Args:
        editor: its name.
        config: its hyperparameters.
        seed: the study's.
        files: what it needs, by kind; shortcuts are not used.
        values: where GRACE's values are kept, by what they depend on, for rows that have them in common; None
            to optimise them in each.
    """

    def __init__(self, editor, config, seed, files, values=None):
        self._editor, self._config, self._seed, self._values = editor, config, seed, values
        if "contexts" in files:
            self._prefixes = Contexts.load(files["contexts"], config.contexts).prefixes
        self._moments = _moments(files["moments"]) if "moments" in files else None
        where = torch.get_default_device()
        self._state = read_tensors(files["state"], where) if "state" in files else {}

    @contextlib.contextmanager
    def edited(self, model, request):
        """Put the model under the edit of a request as long as the context lasts."""
        with contextlib.ExitStack() as stack:
            if self._editor in POOL:
                stack.enter_context(self._codebook(model, request))
            elif self._editor != "none":
                stack.enter_context(_restored(model, self._layers(), self._config.module))
                self._write(model, request)
            yield

    def _layers(self):
        return getattr(self._config, "layers", None) or [self._config.layer]

    def _write(self, model, request):
        config = self._config
        if self._editor == "ft_l":
            self._fine_tune(model, request)
        elif self._editor == "rome":
            rank_one.rome(model, request, self._prefixes, self._moments, config)
        elif self._editor in ("memit", "pmet"):
            ease, pmet = EASE.get(self._editor), self._editor == "pmet"
            rank_one.spread(model, request, self._prefixes, self._moments, config, pmet=pmet, ease=ease)
        else:
            self._shift(model, request)

    def _fine_tune(self, model, request):
        config = self._config
        fine_tuned_weight(
            model,
            request.prompt,
            request.target,
            layer=config.layer,
            module=config.module,
            steps=config.steps,
            learning_rate=config.learning_rate,
            bound=config.norm_constraint,
            stop_loss=config.stop_loss,
        )
        rank_one.module_at(model, config.layer, config.module).weight.requires_grad_(False)

    def _shift(self, model, request):
        config, state = self._config, self._state
        texts = [(request.prompt, request.target)]
        keys, gradients = pairs(model, texts, config.layers, config.module, config.tokens)
        tiny = torch.finfo(torch.float32).eps
        spread = (state["normaliser.squares"] / (state["normaliser.count"] - 1)).sqrt() + tiny
        for place, layer in enumerate(config.layers):
            arguments = (keys[place], gradients[place], place, config.blocks)
            change = shift(state, state["normaliser.mean"], spread, *arguments)
            rank_one.module_at(model, layer, config.module).weight += change.T

    @contextlib.contextmanager
    def _codebook(self, model, request):
        config, pool = self._config, POOL[self._editor]
        value = self._value(model, request)
        key = self._key(module_inputs(model, config.layer, config.module, request.prompt), pool)
        decoding = getattr(config, "decoding", False)

        def hook(_, inputs, output):
            if output.shape[1] == 1 and not decoding:
                return output
            near = torch.stack([(self._key(x, pool) - key).norm() for x in inputs[0]]) <= config.radius
            output = output.clone()
            output[near, -1] = value
            return output

        handle = rank_one.module_at(model, config.layer, config.module).register_forward_hook(hook)
        try:
            yield
        finally:
            handle.remove()

    def _value(self, model, request):
        config = self._config
        settings = {name: getattr(config, name) for name in ("layer", "module", "steps", "learning_rate")}
        known = (request.case_id, *settings.values())
        if self._values is not None and known in self._values:
            return self._values[known]
        width = rank_one.module_at(model, config.layer, config.module).out_features
        drawn = generator(self._seed, "grace", request.case_id).random(width).astype(np.float32)
        value = grace_value(model, request.prompt, request.target, torch.tensor(drawn), **settings)
        if self._values is not None:
            self._values[known] = value
        return value

    def _key(self, inputs, pool):
        """The key of a prompt with these inputs [tokens, d_in] of the module."""
        query = inputs[-1] if pool == "last" else inputs.mean(dim=0)
        if not self._state:
            return query
        state = self._state
        inside = state["first"] @ query + state.get("first_bias", 0)
        inside = torch.where(inside > 0, inside, self._config.slope * inside)
        return state["second"] @ inside + state.get("second_bias", 0)


@contextlib.contextmanager
def _restored(model, layers, module):
    weights = [rank_one.module_at(model, layer, module).weight for layer in layers]
    before = [weight.detach().clone() for weight in weights]
    try:
        yield
    finally:
        with torch.no_grad():
            for weight, old in zip(weights, before, strict=True):
                weight.copy_(old)


def _moments(path):
    """The mean of k k^T by layer."""
    stored = read_tensors(path, torch.get_default_device())
    tokens = int(stored.pop("tokens"))
    return {int(name.split(".")[1]): total.double() / tokens for name, total in stored.items()}


def greedy(model, prompt, tokens, ends):
    """Continue a prompt greedily by `generate`, with its cache."""
    out = _generate(model, prompt, tokens, ends, do_sample=False, output_logits=True)
    best = torch.stack(out.logits)[:, 0].float().topk(2, dim=1)
    ids = tuple(out.sequences[0, len(prompt) :].tolist())
    margins = (best.values[:, 0] - best.values[:, 1]).tolist()
    return Said(ids, tuple(best.indices[:, 1].tolist()), tuple(margins))


def sampled(model, prompt, tokens, ends, *, beams, top_k):
    """Sample a continuation for fluency by `generate`, whose random numbers are its own."""
    out = _generate(model, prompt, tokens, ends, do_sample=True, num_beams=beams, top_k=top_k)
    return tuple(out.sequences[0, len(prompt) :].tolist())


def _generate(model, prompt, tokens, ends, **options):
    ids = torch.tensor([prompt])
    stops = sorted(ends) or None
    with torch.no_grad():
        return model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=tokens,
            eos_token_id=stops,
            pad_token_id=stops[0] if stops else 0,
            return_dict_in_generate=True,
            **options,
        )
