"""Many edits of one model, one after the other."""

import copy
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from clme.editors.base import Editor, Failure, Request
from clme.editors.codebooks import CodebookEditor
from clme.edits import Codebook, Dense, Edit, LowRank, below
from clme.errors import UserError
from clme.models.decoder import Decoder
from clme.tensors import read_tensor_metadata, read_tensors, write_tensors

Label = tuple[int, ...]

# By how much the older of two neighbouring entries is smaller, so that their balls don't touch.
_GAP = 1e-5


@dataclass(frozen=True)
class Taught:
    """One step of a sequence.

    Attributes:
        request: what was taught.
        edit: what the editor made of it, on the model as the steps before had left it.
    """

    request: Request
    edit: Edit


class EditSequence:
    """A model that one editor teaches one request after the other.

    Edits of weights add up: each is made on the model as the earlier ones have left it. Codebooks become
    one, by GRACE's rules (see `grown`). What the steps make together is one `Edit`, which is applied,
    saved and evaluated as any other.

    Args:
        editor: with its needs loaded.
        decoder: the unedited model.
        steps: taken before.
    """

    def __init__(self, editor: Editor, decoder: Decoder, steps: Iterable[Taught] = ()) -> None:
        self._editor, self._decoder = editor, decoder
        self.steps = list(steps)

    @property
    def edit(self) -> Edit:
        """All steps as one edit."""
        return composed(self.steps)

    def teach(self, request: Request) -> Edit | Failure:
        """Take one more step; after a failure the sequence is as before.

        Returns:
            What this step made, or why it failed.
        """
        if isinstance(self._editor, CodebookEditor):
            found = self._extend(self._editor, request)
        else:
            (found,) = self._editor.edit(edited(self._decoder, self.edit), [request])
        if isinstance(found, Edit):
            self.steps.append(Taught(request, found))
        return found

    def _extend(self, editor: CodebookEditor, request: Request) -> Edit | Failure:
        """Add an entry, or train on the value of one with the same target that is near."""
        book, labels = _book(self.steps)
        if book is not None:
            key = editor.keys(self._decoder, [request])[0]
            entry, distance = _nearest(book, key)
            if labels[entry] == request.target and distance <= editor.config.radius + book.radii[entry]:
                return editor.edit_from(self._decoder, request, book.values[entry])
        (found,) = editor.edit(self._decoder, [request])
        return found

    def undo(self) -> Taught:
        """Take the last step back, exactly; return it.

        Raises:
            UserError: there is none.
        """
        if not self.steps:
            raise UserError("nothing to undo: the sequence has no steps")
        return self.steps.pop()

    def save(self, path: Path) -> None:
        """Write the steps as one safetensors file; what several share, such as an encoder, only once.

        Raises:
            UserError: the path can't be written.
        """
        tensors: dict[str, Tensor] = {}
        written: dict[int, str] = {}
        shared: dict[str, str] = {}
        steps = []
        for number, step in enumerate(self.steps):
            parts, header = step.edit.packed()
            for name, part in parts.items():
                full = f"{number}.{name}"
                if id(part) in written:
                    shared[full] = written[id(part)]
                else:
                    tensors[full], written[id(part)] = part, full
            steps.append({"request": vars(step.request), "edit": header})
        write_tensors(path, tensors, {"editor": self._editor.name, "steps": steps, "shared": shared})

    @classmethod
    def load(cls, path: Path, editor: Editor, decoder: Decoder) -> "EditSequence":
        """Read what `save` wrote.

        Raises:
            UserError: the file is missing, holds no sequence, or one of another editor.
        """
        metadata, tensors = read_tensor_metadata(path), read_tensors(path, decoder.device)
        if metadata.get("editor") != editor.name:
            raise UserError(f"{path}: a sequence of {metadata.get('editor')}, not of {editor.name}")
        try:
            tensors |= {name: tensors[other] for name, other in metadata["shared"].items()}
            steps = [_step(tensors, number, about) for number, about in enumerate(metadata["steps"])]
        except (KeyError, TypeError) as error:
            raise UserError(f"{path}: holds no sequence that can be read ({error!r})") from error
        return cls(editor, decoder, steps)


def _step(tensors: dict[str, Tensor], number: int, about: dict[str, Any]) -> Taught:
    asked = about["request"]
    request = Request(asked["case_id"], tuple(asked["prompt"]), tuple(asked["target"]))
    return Taught(request, Edit.unpacked(below(tensors, f"{number}."), about["edit"]))


def composed(steps: Iterable[Taught]) -> Edit:
    """Return one edit that acts as all steps together."""
    taught = list(steps)
    weights: list[LowRank | Dense] = []
    for step in taught:
        for delta in step.edit.deltas:
            if isinstance(delta, Dense):
                # It was trained from the weight as edited before, and holds all of it.
                weights = [one for one in weights if one.site != delta.site]
            if not isinstance(delta, Codebook):
                weights = _joined(weights, delta)
    book, _ = _book(taught)
    deltas = (*weights, *([book] if book is not None else []))
    return Edit(deltas, sum(step.edit.steps for step in taught))


def _joined(weights: list[LowRank | Dense], delta: LowRank | Dense) -> list[LowRank | Dense]:
    """Append a delta; changes of low rank at one site become one of a higher rank."""
    for number, other in enumerate(weights):
        if isinstance(delta, LowRank) and isinstance(other, LowRank) and other.site == delta.site:
            left = torch.cat([other.left, delta.left], dim=1)
            right = torch.cat([other.right, delta.right])
            return [*weights[:number], LowRank(delta.site, left, right), *weights[number + 1 :]]
    return [*weights, delta]


def _book(steps: Iterable[Taught]) -> tuple[Codebook | None, list[Label]]:
    """Put the codebooks of all steps together; returns it with each entry's target."""
    book: Codebook | None = None
    labels: list[Label] = []
    for step in steps:
        for delta in step.edit.deltas:
            if isinstance(delta, Codebook):
                book, labels = grown(book, labels, delta, step.request.target)
    return book, labels


def grown(
    book: Codebook | None, labels: list[Label], new: Codebook, label: Label
) -> tuple[Codebook, list[Label]]:
    """Let a codebook take up an entry (GRACE, Hartvigsen et al., 2023, and its code).

    With d the distance of the new key to the nearest, of radius e, and e0 the new entry's own radius:

    - d > e0 + e: the entry is added;
    - otherwise, with the same target: the nearest entry expands, its radius becomes d if that is
      larger, and its value the new one, which was trained on from it;
    - otherwise the two split the distance: the new radius is d / 2, the nearest's a little less;
    - but at the same place there is nothing to split: the new entry takes the nearest's. (In the released
      code the older stays the nearest, with a negative radius, and neither fires.)

    Args:
        book: None for an empty one.
        labels: the target of each entry. (The released code compares the means of padded label ids.)
        new: a codebook of one entry, at the same module and with the same key function.
        label: its target.

    Returns:
        The codebook and its labels; neither `book` nor `labels` is changed.

    Raises:
        UserError: the codebooks are at different modules, or compare other keys.
    """
    if book is None:
        return new, [label]
    _refuse_others(book, new)
    entry, distance = _nearest(book, new.keys[0])
    radii, values = book.radii.clone(), book.values.clone()
    reach = new.radii[0] + radii[entry]
    if distance <= reach and labels[entry] == label:
        radii[entry] = torch.maximum(radii[entry], distance)
        values[entry] = new.values[0]
        return replace(book, radii=radii, values=values), labels
    radius = new.radii
    if distance / 2 <= _GAP:
        values[entry] = new.values[0]
        renamed = [label if number == entry else old for number, old in enumerate(labels)]
        return replace(book, values=values), renamed
    if distance <= reach:
        radii[entry], radius = distance / 2 - _GAP, (distance / 2)[None]
    keys, values = torch.cat([book.keys, new.keys]), torch.cat([values, new.values])
    return replace(book, keys=keys, values=values, radii=torch.cat([radii, radius])), [*labels, label]


def _nearest(book: Codebook, key: Tensor) -> tuple[int, Tensor]:
    distances = torch.linalg.vector_norm(book.keys - key, dim=1)
    entry = int(distances.argmin())
    return entry, distances[entry]


def _refuse_others(book: Codebook, new: Codebook) -> None:
    mine, theirs = ([] if one.encoder is None else list(one.encoder.tensors.values()) for one in (book, new))
    same_encoder = len(mine) == len(theirs) and all(map(torch.equal, mine, theirs))
    if (book.site, book.pool, book.decoding) != (new.site, new.pool, new.decoding) or not same_encoder:
        raise UserError(f"{new.site}: codebooks of different modules, keys or encoders can't be put together")


@torch.no_grad()
def edited(decoder: Decoder, edit: Edit) -> Decoder:
    """Return a decoder whose weights hold an edit's changes; all other weights are shared.

    Args:
        decoder: the unedited model, which stays as it is.
        edit: of low-rank and dense changes only.

    Raises:
        UserError: the edit has a codebook, which no weight can hold.
    """
    if not edit.deltas:
        return decoder
    kept = [*decoder.model.parameters(), *decoder.model.buffers()]
    made = Decoder(copy.deepcopy(decoder.model, {id(tensor): tensor for tensor in kept}))
    for delta in edit.deltas:
        module = made.linear(delta.site)
        if isinstance(delta, Codebook):
            raise UserError(f"{delta.site}: a codebook can't be written into weights")
        if isinstance(delta, Dense):
            weight = delta.weight
        else:
            weight = module.weight + (delta.left @ delta.right).to(module.weight)
        module.weight = nn.Parameter(weight.to(module.weight), requires_grad=False)
    return made
