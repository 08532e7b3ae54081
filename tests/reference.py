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


def module_inputs(model, layer, module, prompt):
    """A module's inputs [tokens, d_in] while the model reads a prompt alone."""
    seen = []
    place = model.base_model.layers[layer].get_submodule(module)
    handle = place.register_forward_hook(lambda _, args, __: seen.append(args[0][0]))
    with torch.no_grad():
        model(input_ids=torch.tensor([prompt]))
    handle.remove()
    return seen[0]


def contrastive_loss(keys, pairs, margin):
    """Equation 4 of the study, pair by pair; `pairs` are (prompt, other, y)."""
    total = 0
    for prompt, other, y in pairs:
        d = torch.sqrt(((keys[prompt] - keys[other]) ** 2).sum())
        total = total + y * d**2 + (1 - y) * torch.relu(margin - d) ** 2
    return total / len(pairs)


def train_encoder(first, second, rows, pairs, orders, *, margin, batch, learning_rate, weight_decay):
    """Train q* = W2 relu(W1 q) in place, without dropout; `orders` hold each epoch's order of the pairs."""
    first.requires_grad_(True)
    second.requires_grad_(True)
    optimizer = torch.optim.Adam([first, second], lr=learning_rate, weight_decay=weight_decay)
    for order in orders:
        for start in range(0, len(order), batch):
            keys = {n: second @ torch.relu(first @ row) for n, row in enumerate(rows)}
            loss = contrastive_loss(keys, [pairs[n] for n in order[start : start + batch]], margin)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
