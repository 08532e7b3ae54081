"""A causal language model as an editor needs it: layer by layer, with caches and interventions.

This file and `attention.py` know the internals of `transformers`, and no other does. It relies on a
structure, not on a model's name: token embeddings, a list of layers that are called with rotary position
embeddings and write their keys and values to a cache, a final norm, an output head. `Decoder` compares
itself with the model's own forward pass before it is used, so that a model with another structure is
refused instead of being run wrongly.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self, cast

import torch
from torch import Tensor, nn

from clme.errors import UserError, first_line
from clme.models.context import Context, Past

# `transformers` is imported where it is used: the workflow imports all editors to read their hyperparameters,
# which would take twice as long.
if TYPE_CHECKING:
    from transformers import PreTrainedModel

Hook = Callable[[Tensor, Tensor], Tensor | None]
"""Called with a module's input [rows, tokens, d_in] and output [rows, tokens, d_out]; may replace it."""


class Site(NamedTuple):
    """A module within a layer, such as ``mlp.down_proj`` of layer 12 (layers are counted from 0)."""

    layer: int
    module: str

    def __str__(self) -> str:
        return f"layers.{self.layer}.{self.module}"


class _Reading:
    """The cache that attention modules see during one pass: the past, then the new tokens."""

    def __init__(self, past: Context | None, layers: int) -> None:
        self._past = past.layers if past is not None else (None,) * layers
        self.layers: list[Past | None] = [None] * layers

    def update(
        self, keys: Tensor, values: Tensor, layer_idx: int, *_: object, **__: object
    ) -> tuple[Tensor, Tensor]:
        past = self._past[layer_idx]
        now = Past(keys, values) if past is None else past.followed(keys, values)
        self.layers[layer_idx] = now
        return now.keys, now.values


class Decoder:
    """Runs a frozen `transformers` causal language model from any layer to any layer.

    Where its layers are spread over several devices, tensors are taken and given on the first one's.

    Args:
        model: the loaded model; its weights are frozen and never written to, its attention is replaced.

    Raises:
        UserError: the model is not built as this class expects, or gives other logits than its own
            forward pass.
    """

    def __init__(self, model: "PreTrainedModel") -> None:
        self.model = model.eval().requires_grad_(False)
        base = model.base_model
        self.embedding = cast(nn.Embedding, model.get_input_embeddings())
        self.head = cast(nn.Linear, model.get_output_embeddings())
        self.layers = cast(
            nn.ModuleList, self._only(base, "list of layers", lambda child: isinstance(child, nn.ModuleList))
        )
        self.rotary = self._only(base, "rotary embedding", lambda child: hasattr(child, "inv_freq"))
        rest = (self.embedding, self.layers, self.rotary)
        self.norm = self._only(base, "final norm", lambda child: all(child is not other for other in rest))
        self.device = self.embedding.weight.device
        self.dtype = self.embedding.weight.dtype
        self.max_tokens: int = model.config.max_position_embeddings
        self._take_over()

    @classmethod
    def load(
        cls, folder: Path, *, device: str = "auto", dtype: str = "float32", accelerators: int = 1
    ) -> Self:
        """Load a model folder (`config.json` and safetensors).

        Args:
            folder: a local model folder.
            device: a device's name in torch, or ``auto`` for the accelerator where there is one.
            dtype: ``float32``, ``bfloat16`` or ``float16``.
            accelerators: over so many the layers are spread, where it is more than one.

        Raises:
            UserError: no model can be loaded from the folder, the device does not exist, or the model
                does not fit on the accelerators.
        """
        from transformers import AutoModelForCausalLM
        from transformers.utils import logging

        logging.disable_progress_bar()
        spread = {"device_map": "auto"} if accelerators > 1 else {}
        try:
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=getattr(torch, dtype),
                local_files_only=True,
                use_safetensors=True,
                output_loading_info=True,
                **spread,
            )
            model, report = loaded
            if report["missing_keys"]:  # transformers would make them up
                raise ValueError(f"it lacks the weights {', '.join(sorted(report['missing_keys']))}")
            if spread:
                # Without an accelerator there is no map.
                _refuse_offloading(getattr(model, "hf_device_map", {"model": "cpu"}), accelerators)
            else:
                model.to(_device(device))
        except Exception as error:  # damaged files raise all kinds
            raise UserError(
                f"{folder}: no model can be loaded from here onto {device} ({first_line(error)})"
            ) from error
        return cls(model)

    def _only(self, base: nn.Module, what: str, fits: Callable[[nn.Module], bool]) -> nn.Module:
        found = [child for child in base.children() if fits(child)]
        if len(found) != 1:
            raise UserError(
                f"{type(self.model).__name__}: expected one {what} in its {type(base).__name__},"
                f" found {len(found)}; models built like Llama, Qwen2 or StableLM are supported"
            )
        return found[0]

    @torch.no_grad()
    def _take_over(self) -> None:
        """Replace the model's attention, and make sure that layer by layer it says what it said itself."""
        from clme.models.attention import share_heads

        kinds = set(getattr(self.model.config, "layer_types", None) or ["full_attention"])
        if kinds != {"full_attention"}:
            raise UserError(
                f"{type(self.model).__name__}: has layers of type {sorted(kinds)};"
                " only full attention is supported"
            )
        ids = torch.arange(1, 17, device=self.device).view(2, 8) % self.model.config.vocab_size
        mask = torch.ones_like(ids, dtype=torch.bool)
        expected = self.model(input_ids=ids).logits
        share_heads(self.model)
        hidden, _ = self.read(ids, mask)
        error = (self.logits(hidden) - expected).abs().max() / expected.abs().max().clamp(min=1e-6)
        if not error <= 100 * torch.finfo(self.dtype).eps:
            raise UserError(
                f"{type(self.model).__name__}: run layer by layer its logits differ from its own forward pass"
                f" by {error:.1e} of the largest; it is not built like Llama, Qwen2 or StableLM"
            )

    @property
    def device_name(self) -> str:
        """What the device calls itself, for provenance."""
        named = getattr(torch.get_device_module(self.device), "get_device_name", None)
        return str(named(self.device)) if named is not None else self.device.type

    @property
    def vocabulary(self) -> int:
        """The number of logits."""
        return int(self.head.out_features)

    @property
    def depth(self) -> int:
        """The number of layers."""
        return len(self.layers)

    @property
    def ends(self) -> frozenset[int]:
        """Ids of the tokens that end a text."""
        ends = self.model.generation_config.eos_token_id
        return frozenset(ends if isinstance(ends, list) else [] if ends is None else [ends])

    def site(self, layer: int, module: str) -> Site:
        """Name a module of a layer, making sure that it is there.

        Raises:
            UserError: the layer is out of range, or has no such module.
        """
        if not 0 <= layer < self.depth:
            raise UserError(
                f"layer {layer}: the model has layers 0 to {self.depth - 1}; change the editor's `layer`"
            )
        found = [name for name, child in self.layers[layer].named_modules() if isinstance(child, nn.Linear)]
        if module not in found:
            raise UserError(
                f"module {module!r}: layer {layer} has no such linear module, but {', '.join(found)}"
            )
        return Site(layer, module)

    def linear(self, site: Site) -> nn.Linear:
        """Return the linear module at a site; its weight [d_out, d_in] is not to be written to.

        It is where its layer is.
        """
        module = self.layers[site.layer].get_submodule(site.module)
        assert isinstance(module, nn.Linear)
        return module

    def embed(self, ids: Tensor) -> Tensor:
        """Return the hidden states [rows, tokens, d] that enter layer 0."""
        return self.embedding(ids)

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the logits [..., vocabulary] of the hidden states [..., d] that leave the last layer."""
        return self.head(self.norm(hidden)).to(self.device)

    def read(
        self,
        tokens: Tensor,
        mask: Tensor,
        context: Context | None = None,
        *,
        first: int = 0,
        stop: int | None = None,
        hooks: Sequence[tuple[Site, Hook]] = (),
        seen: Tensor | None = None,
    ) -> tuple[Tensor, Context]:
        """Run new tokens through layers `first` to `stop` - 1.

        Args:
            tokens: token ids [rows, tokens], or, from the middle, the hidden states [rows, tokens, d]
                that enter layer `first`.
            mask: [rows, tokens], False for padding, which may stand anywhere.
            context: what the rows have read before; must hold the layers that are run.
            first: the first layer to run.
            stop: the layer to stop before; None for all.
            hooks: called on the modules at their sites, in this order.
            seen: [rows, tokens, slots], which of the context's slots and of the new tokens (itself among
                them) each new token sees, where these are not one after the other, as the beams of one
                text; None for what `context` and `mask` say.

        Returns:
            The hidden states [rows, tokens, d] that leave layer `stop` - 1 (undefined at padding), and
            the context with the new tokens.
        """
        stop = self.depth if stop is None else stop
        hidden = tokens if tokens.is_floating_point() else self.embed(tokens)
        if mask.shape[1] == 0:
            return hidden, context or Context((None,) * self.depth, mask)
        past = context.valid if context is not None else mask[:, :0]
        seen = _seen(past, mask) if seen is None else seen
        positions = seen.sum(dim=2) - 1
        # What is added to the scores; a boolean mask would be turned into this anew in each layer.
        attention = torch.zeros(seen.shape, dtype=hidden.dtype, device=seen.device)
        attention = attention.masked_fill_(~seen, -torch.inf)[:, None]
        rotary = self.rotary(hidden, position_ids=positions)
        reading = _Reading(context, self.depth)
        with self._hooked(hooks):
            for layer in self.layers[first:stop]:
                hidden = layer(
                    hidden,
                    attention_mask=attention,
                    position_ids=positions,
                    cache=reading,
                    use_cache=True,
                    position_embeddings=rotary,
                )
        return hidden.to(self.device), Context(tuple(reading.layers), torch.cat([past, mask], dim=1))

    @contextlib.contextmanager
    def _hooked(self, hooks: Sequence[tuple[Site, Hook]]) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            for site, hook in hooks:
                module = self.layers[site.layer].get_submodule(site.module)

                def adapted(
                    _: nn.Module, inputs: tuple[Tensor, ...], output: Tensor, hook: Hook = hook
                ) -> Tensor | None:
                    changed = hook(inputs[0].to(self.device), output.to(self.device))
                    return None if changed is None else changed.to(output.device)

                stack.callback(module.register_forward_hook(adapted).remove)
            yield


def _refuse_offloading(places: Mapping[str, object], accelerators: int) -> None:
    """Make sure that no layer was left outside, where editors could not reach its weights."""
    left = [name for name, place in places.items() if str(place) in ("cpu", "disk")]
    if left:
        raise ValueError(
            f"it does not fit on {accelerators} accelerators: {left[0]} would be left outside of them;"
            " raise `compute.accelerators`"
        )


def _device(name: str) -> torch.device:
    if name != "auto":
        return torch.device(name)
    found = torch.accelerator.current_accelerator(check_available=True)
    return found if found is not None else torch.empty(0).device


def _seen(past: Tensor, mask: Tensor) -> Tensor:
    """Say which slots each new token sees: [rows, tokens, slots], True where it does.

    Padding sees itself, since a softmax over nothing would be NaN; no token sees padding.
    """
    new = mask.shape[1]
    causal = torch.ones(new, new, dtype=torch.bool, device=mask.device).tril()
    itself = torch.eye(new, dtype=torch.bool, device=mask.device)
    among_new = (causal & mask[:, None, :]) | itself
    return torch.cat([past[:, None, :].expand(-1, new, -1), among_new], dim=2)


def padded(
    rows: Sequence[Sequence[int]], device: torch.device, *, side: str = "right"
) -> tuple[Tensor, Tensor]:
    """Lay token ids of different lengths into a rectangle.

    Args:
        rows: token ids of each row; a row may be empty.
        device: where the tensors go.
        side: where the padding goes, ``left`` or ``right``.

    Returns:
        ids [rows, longest] and mask [rows, longest], False at padding.
    """
    longest = max(map(len, rows), default=0)
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    mask = torch.zeros(len(rows), longest, dtype=torch.bool)
    for number, row in enumerate(rows):
        place = slice(longest - len(row), longest) if side == "left" else slice(0, len(row))
        ids[number, place] = torch.tensor(row, dtype=torch.long)
        mask[number, place] = True
    return ids.to(device), mask.to(device)
