"""MALMEN in plain steps: one text at a time on the `transformers` model, whose weights are really changed.

Written from the paper's formulas (Tan et al., 2024): the hypernetwork on explicit matrices, the normal
equation in d_in unknowns and double precision, the meta gradient by differentiating through everything.
"""

import torch
from torch.func import functional_call
from torch.nn.functional import cross_entropy


def weight_name(model, layer, module):
    (name,) = (
        name for name, _ in model.named_parameters() if name.endswith(f"layers.{layer}.{module}.weight")
    )
    return name


def pairs(model, texts, layers, module, tokens):
    """Keys and gradients of a batch of (prompt, target): for each layer [n, d_in] and [n, d_out]."""
    modules = [model.base_model.layers[layer].get_submodule(module) for layer in layers]
    total = sum(len(target) for _, target in texts)
    keys, gradients = [[] for _ in layers], [[] for _ in layers]
    for prompt, target in texts:
        seen = []

        def keep(_, inputs, output, seen=seen):
            output.requires_grad_(True).retain_grad()
            seen.append((inputs[0], output))

        handles = [one.register_forward_hook(keep) for one in modules]
        logits = model(input_ids=torch.tensor([[*prompt, *target]])).logits[0, len(prompt) - 1 : -1]
        for handle in handles:
            handle.remove()
        (cross_entropy(logits, torch.tensor(target), reduction="sum") / total).backward()
        start = 0 if tokens == "first" else len(prompt) - 1
        for place, (x, y) in enumerate(seen):
            keys[place] += list(x[0, start : start + len(target)].detach())
            gradients[place] += list(y.grad[0, start : start + len(target)])
    return [torch.stack(rows) for rows in keys], [torch.stack(rows) for rows in gradients]


def statistics(groups):
    """Mean and divisor of all rows; within itself, each group of n rows counts n/(n-1)."""
    everything = torch.cat(groups)
    mean = everything.mean(0)
    squares = sum(len(g) * g.var(0) + len(g) * (g.mean(0) - mean) ** 2 for g in groups)
    return mean, (squares / (len(everything) - 1)).sqrt() + torch.finfo(mean.dtype).eps


def shift(weights, mean, std, keys, gradients, place, blocks):
    """The transposed shift [d_in, d_out] of one layer's weight."""
    rows = (torch.cat([keys, gradients], 1) - mean) / std
    for block in range(blocks):
        part = {name: weights[f"blocks.{block}.{name}"] for name in ("inner", "outer", "bias")}
        scale, moved = weights[f"blocks.{block}.scale"][place], weights[f"blocks.{block}.shift"][place]
        inside = rows @ (part["inner"] @ part["outer"]) + part["bias"]
        rows = rows + scale * torch.where(inside >= 0, inside, torch.zeros_like(inside)) + moved
    d_in = keys.shape[1]
    differences = []
    for k, row in zip(keys, rows, strict=True):
        # What the rank-one shift of this pair alone would change at its key.
        alone = -weights["rates"][place] * torch.outer(row[:d_in], row[d_in:])
        differences.append(k @ alone)
    k, d = keys.double(), torch.stack(differences).double()
    damping = weights["log_dampings"][place].double().exp() * torch.eye(d_in, dtype=torch.double)
    return torch.linalg.solve(k.T @ k + damping, k.T @ d).float()


def meta_gradient(model, weights, batch, *, layers, module, tokens, blocks, locality, ends, new_tokens):
    """One training step's losses and gradients.

    Args:
        weights: the hypernetwork's parameters by name.
        batch: of (prompt, target, rephrase, neighbours).

    Returns:
        Generalization loss, locality loss, and the gradients by name, unclipped.
    """
    keys, gradients = pairs(model, [(p, t) for p, t, _, _ in batch], layers, module, tokens)
    mean, std = statistics([torch.cat(pair, 1) for pair in zip(keys, gradients, strict=True)])
    weights = {name: value.detach().clone().requires_grad_(True) for name, value in weights.items()}
    changed = {}
    for place, layer in enumerate(layers):
        name = weight_name(model, layer, module)
        moved = shift(weights, mean, std, keys[place], gradients[place], place, blocks)
        changed[name] = model.get_parameter(name).detach() + moved.T

    def logits(prompt, target, state):
        ids = torch.tensor([[*prompt, *target]])
        return functional_call(model, state, kwargs={"input_ids": ids}).logits[0, len(prompt) - 1 : -1]

    sums, counts, divergences, positions = [], 0, [], 0
    for _, target, rephrase, neighbours in batch:
        found = logits(rephrase, target, changed)
        sums.append(cross_entropy(found, torch.tensor(target), reduction="sum"))
        counts += len(target)
        for neighbour in neighbours:
            answer = continuation(model, neighbour, new_tokens, ends)
            with torch.no_grad():
                reference = logits(neighbour, answer, {}).log_softmax(-1)
            edited = logits(neighbour, answer, changed).log_softmax(-1)
            divergences.append((reference.exp() * (reference - edited)).sum())
            positions += len(answer)
    generalization, divergence = sum(sums) / counts, sum(divergences) / positions
    names = list(weights)
    found = torch.autograd.grad(generalization + locality * divergence, [weights[name] for name in names])
    return generalization.item(), divergence.item(), dict(zip(names, found, strict=True))


def continuation(model, prompt, tokens, ends):
    """Greedy continuation, token by token and without a cache; ends with an end token if there is one."""
    ids = list(prompt)
    for _ in range(tokens):
        with torch.no_grad():
            ids.append(int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
        if ids[-1] in ends:
            break
    return tuple(ids[len(prompt) :])
