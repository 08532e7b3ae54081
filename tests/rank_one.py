"""ROME, MEMIT and PMET in plain PyTorch: one request, one text at a time, weights really changed.

Written from the papers' formulas (Meng et al., 2022, Equations 2 to 4; Meng et al., 2023, Equations 14 to 20;
Li et al., 2024), sharing nothing with the package's own engine.
"""

import contextlib

import torch
from torch.nn.functional import cross_entropy

from clme.editors.contexts import Contexts
from clme.editors.moments import Sums
from clme.tensors import write_tensors

MODULE = "mlp.down_proj"


def module_at(model, layer, module):
    return model.base_model.layers[layer].get_submodule(module)


@contextlib.contextmanager
def added(places, vectors, position):
    """Add vectors to the outputs of modules at one position."""

    def hook(vector):
        def add(_, __, output):
            output = output.clone()
            output[0, position] += vector
            return output

        return add

    handles = [place.register_forward_hook(hook(v)) for place, v in zip(places, vectors, strict=True)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def seen(model, tokens, place):
    """Input and output of a module at a text's last token."""
    kept = []
    handle = place.register_forward_hook(lambda _, args, output: kept.append((args[0][0, -1], output[0, -1])))
    with torch.no_grad():
        model(input_ids=torch.tensor([tokens]))
    handle.remove()
    return kept[0]


def texts(request, prefixes):
    """The prompt in each context: bare, then behind each prefix."""
    inner = request.prompt_in_text or request.prompt
    return [request.prompt, *(prefix + inner for prefix in prefixes[1:])]


def sought(model, request, prefixes, places, config, ease=None):
    """Find the vectors; returns what the places say at first, the vectors, and the number of updates."""
    initial = [seen(model, request.prompt, place)[1] for place in places]
    vectors = [torch.zeros_like(start, requires_grad=True) for start in initial]
    optimizer = torch.optim.Adam(vectors, lr=config.learning_rate)
    about = request.prompt if config.kl_prompt == "prompt" else request.prompt[-request.subject :]
    before = torch.log_softmax(model(input_ids=torch.tensor([about])).logits[0, -1], dim=0).detach()
    factor = 1.0
    for step in range(config.steps):
        likelihoods, best = [], True
        for text in texts(request, prefixes):
            with added(places, vectors, len(text) - 1):
                logits = model(input_ids=torch.tensor([[*text, *request.target]])).logits[
                    0, len(text) - 1 : -1
                ]
            likelihoods.append(cross_entropy(logits, torch.tensor(request.target)))
            best = best and logits.argmax(dim=1).tolist() == list(request.target)
        with added(places, vectors, len(about) - 1):
            now = torch.log_softmax(model(input_ids=torch.tensor([about])).logits[0, -1], dim=0)
        divergence = config.kl_factor * torch.sum(now.exp() * (now - before))
        length = sum(v.norm() / start.norm() ** 2 for v, start in zip(vectors, initial, strict=True))
        loss = factor * torch.stack(likelihoods).mean() + divergence + config.weight_decay * length
        if loss < config.stop_loss or (ease and best and divergence <= ease.kl) or step == config.steps - 1:
            break
        if ease:
            factor = ease.factor if best else 1.0
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for vector, start in zip(vectors, initial, strict=True):
                bound = config.clamp_norm_factor * start.norm()
                if vector.norm() > bound:
                    vector *= bound / vector.norm()
    return initial, [vector.detach() for vector in vectors], step


def rome(model, request, prefixes, moments, config):
    """Change the model, the caller's copy (Equation 2 of ROME); without moments, C is the identity.

    Returns the number of updates.
    """
    place = module_at(model, config.layer, config.module)
    _, (vector,), steps = sought(model, request, prefixes, [place], config)
    key = torch.stack([seen(model, text, place)[0] for text in texts(request, prefixes)]).mean(dim=0)
    bare_key, bare_value = seen(model, request.prompt, place)
    inverse = torch.eye(len(key)) if moments is None else torch.linalg.inv(moments[config.layer]).float()
    with torch.no_grad():
        u = inverse @ key
        value = bare_value + vector
        factor = (value - bare_value) / torch.dot(u, bare_key)
        place.weight += torch.outer(factor, u)
    return steps


def spread(model, request, prefixes, moments, config, *, pmet, ease=None):
    """Change the model, the caller's copy, by MEMIT (Equations 14 to 20) or PMET.

    Returns the number of updates.
    """
    highest = config.layers[-1]
    both = [(highest, config.module), (highest, config.attention_module)] if pmet else []
    names = both or [(highest, "")]
    places = [module_at(model, *name) for name in names]
    initial, vectors, steps = sought(model, request, prefixes, places, config, ease)
    wanted, goal = initial[0] + vectors[0], places[0]
    for number, layer in enumerate(config.layers):
        place = module_at(model, layer, config.module)
        inputs = [seen(model, text, place)[0] for text in texts(request, prefixes)]
        key = ((inputs[0] + torch.stack(inputs[1:]).mean(dim=0)) / 2).double()[:, None]
        left = len(config.layers) - number
        residual = (wanted - seen(model, request.prompt, goal)[1]).double() / (left**0.5 if pmet else left)
        kept = config.mom2_update_weight * moments[layer] + key @ key.T
        with torch.no_grad():
            place.weight += (residual[:, None] @ torch.linalg.solve(kept, key).T).float()
    return steps


def second_moments(model, layers, rows, module=MODULE):
    """The mean of k k^T over all tokens of some texts, in float64, one text at a time."""
    sums = {layer: torch.zeros(()) for layer in layers}
    for row in rows:
        for layer in layers:
            kept = []
            place = module_at(model, layer, module)
            handle = place.register_forward_hook(lambda _, args, __, kept=kept: kept.append(args[0][0]))
            with torch.no_grad():
                model(input_ids=torch.tensor([row]))
            handle.remove()
            sums[layer] = sums[layer] + kept[0].double().T @ kept[0].double()
    return {layer: total / sum(map(len, rows)) for layer, total in sums.items()}


def random_texts(number, length, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(1, 512, (length,), generator=generator).tolist() for _ in range(number)]


def needed_files(decoder, folder, layers, prefixes, module=MODULE, rows=None):
    """Write the contexts and the second moments of random texts as the workflow does."""
    write_tensors(folder / "contexts.safetensors", Contexts(prefixes).tensors(), {})
    sums = Sums([decoder.site(layer, module) for layer in layers], torch.float64)
    for row in rows or random_texts(20, 40):
        ids = torch.tensor([row])
        mask = torch.ones_like(ids, dtype=torch.bool)
        with torch.no_grad():
            decoder.read(ids, mask, hooks=sums.hooks(mask))
    write_tensors(folder / "moments.safetensors", sums.tensors(), {})
    return {kind: folder / f"{kind}.safetensors" for kind in ("contexts", "moments")}
