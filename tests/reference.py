"""Plain, slow references: one request at a time on the `transformers` model, with hooks and `generate`.

Written from the papers' descriptions, sharing nothing with the package's own engine.
"""

import contextlib

import torch
from torch.nn.functional import cross_entropy


@contextlib.contextmanager
def replaced_output(model, layer, module, position, value):
    """Replace a module's output at one position of the prefill; single-token steps pass through."""

    def hook(_, __, output):
        if output.shape[1] > 1 or position == 0:
            output = output.clone()
            output[:, position] = value
        return output

    handle = model.base_model.layers[layer].get_submodule(module).register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def generate(model, prompt, tokens, **options):
    """Greedy continuation by `transformers` itself."""
    ids = torch.tensor([prompt])
    out = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, do_sample=False, **options
    )
    return tuple(out[0, len(prompt) :].tolist())


def mean_loss(model, prompt, target):
    ids = torch.tensor([[*prompt, *target]])
    logits = model(input_ids=ids).logits[0, len(prompt) - 1 : -1]
    return cross_entropy(logits, torch.tensor(target))


def grace_value(model, prompt, target, start, *, layer, module, steps, learning_rate):
    value = start.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([value], lr=learning_rate)
    for _ in range(steps):
        with replaced_output(model, layer, module, len(prompt) - 1, value):
            loss = mean_loss(model, prompt, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return value.detach()


def fine_tuned_weight(model, prompt, target, *, layer, module, steps, learning_rate, bound, stop_loss):
    """Train the weight in place; the caller hands in a copy of the model."""
    weight = model.base_model.layers[layer].get_submodule(module).weight
    original = weight.detach().clone()
    weight.requires_grad_(True)
    optimizer = torch.optim.Adam([weight], lr=learning_rate)
    for _ in range(steps):
        loss = mean_loss(model, prompt, target)
        if loss < stop_loss:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            weight.copy_(torch.minimum(torch.maximum(weight, original - bound), original + bound))
    return weight.detach()
