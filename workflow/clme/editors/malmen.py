"""MALMEN: a hypernetwork turns keys and gradients into low-rank shifts of several layers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import torch
from pydantic import AfterValidator, Field

from clme.editors.base import Editor, EditorConfig, Failure, Need, Request, State, TrainingCase
from clme.editors.hypernetwork import Hypernetwork
from clme.editors.malmen_activations import Tokens, keys_and_gradients
from clme.editors.malmen_training import Training
from clme.edits import Edit
from clme.errors import UserError
from clme.models.decoder import Decoder, Site
from clme.randomness import generator
from clme.tensors import read_tensors


def _ascending(layers: tuple[int, ...]) -> tuple[int, ...]:
    if list(layers) != sorted(set(layers)) or layers[0] < 0:
        raise ValueError("expected layers from 0 on in ascending order, each once")
    return layers


class MalmenConfig(EditorConfig):
    """Hyperparameters of MALMEN; the defaults are the paper's (Section III-F).

    Where the paper is silent they are the released code's: those without a remark. What is the same for
    all edits, such as the damping's initial value of one, is in `clme.editors.hypernetwork`.
    """

    layers: Annotated[tuple[int, ...], AfterValidator(_ascending)] = Field(
        (27, 28, 29, 30, 31),
        min_length=1,
        description="layers that are edited, counted from 0 (paper)",
    )
    module: str = Field("mlp.down_proj", description="linear module within each layer (paper)")
    tokens: Tokens = Field(
        "answer",
        description="positions whose keys and gradients are used: those that predict the target, or, as the"
        " released code's misaligned mask has it, as many from the text's start on",
    )
    width: int = Field(1920, ge=1, description="inner width of the hypernetwork's blocks (paper)")
    blocks: int = Field(2, ge=0, description="blocks of the hypernetwork (paper)")
    edit_rate: float = Field(1e-6, description="initial value of each layer's learning rate of an edit")
    learning_rate: float = Field(1e-5, gt=0, description="Adam's, for the hypernetwork (paper)")
    steps: int = Field(1000, ge=1, description="training steps (paper)")
    batch_size: int = Field(4, ge=1, description="cases that one edit of the training teaches (paper)")
    locality: float = Field(1.0, ge=0, description="weight of the locality loss")
    neighbours: int = Field(5, ge=1, description="neighbours of each case in the locality loss at most")
    max_gradient_norm: float = Field(1.0, gt=0, description="L2 norm that the gradient is clipped to (paper)")
    validation_cases: int = Field(32, ge=1, description="cases kept apart from training for the curve")
    validation_interval: int = Field(100, ge=1, description="training steps between validations")


class Malmen(Editor):
    """Massive editing by a hypernetwork (Tan et al., 2024).

    A request's keys k and gradients g are a module's inputs, and the gradients of the target's mean
    cross-entropy with respect to its outputs, at the tokens that predict the target. From each pair the
    hypernetwork makes a value difference; the shift of the weight is the damped least-squares solution of
    all differences at once. The running statistics that normalise k and g learn in training only.
    """

    name = "malmen"
    Config = MalmenConfig
    released = {"layers": (26, 27, 28, 29, 30, 31)}  # noqa: RUF012

    _network: Hypernetwork

    def check(self, decoder: Decoder) -> None:
        """See the base class."""
        self._sites(decoder)

    def needs(self) -> tuple[Need, ...]:
        """See the base class."""
        return (Need("state", {"seed": self.seed, **self.config.model_dump(mode="json")}),)

    def fit(
        self,
        decoder: Decoder,
        training: Sequence[TrainingCase],
        test: Sequence[TrainingCase],
        files: Mapping[str, Path],
        folder: Path,
    ) -> State:
        """See the base class."""
        network = self._untrained(decoder)
        sites = self._sites(decoder)
        return Training(decoder, self.config, sites, network, training, self.seed, folder).run()

    def load(self, decoder: Decoder, files: Mapping[str, Path]) -> None:
        """See the base class.

        Raises:
            UserError: the hypernetwork is for other layers, or for modules of another size.
        """
        network = self._untrained(decoder)
        tensors = read_tensors(files["state"], decoder.device)
        expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
        for name in sorted(expected.keys() | tensors.keys()):
            found = tuple(tensors[name].shape) if name in tensors else None
            if found != expected.get(name):
                raise UserError(
                    f"{files['state']}: was trained for another model or other layers ({name} is {found},"
                    f" expected {expected.get(name)}); train it anew by `clme prepare state`"
                )
        network.load_state_dict(tensors)
        self._network = network.requires_grad_(False)

    def edit(self, decoder: Decoder, requests: Sequence[Request]) -> list[Edit | Failure]:
        """See the base class."""
        sites = self._sites(decoder)
        results: list[Edit | Failure] = []
        for pairs in keys_and_gradients(decoder, sites, requests, self.config.tokens):
            if not pairs.finite:
                results.append(Failure(f"the unedited model's loss is {pairs.loss}"))
                continue
            try:
                results.append(self._network.edit(sites, pairs.keys, pairs.gradients))
            except ArithmeticError as error:
                results.append(Failure(str(error)))
        return results

    def _sites(self, decoder: Decoder) -> list[Site]:
        return [decoder.site(layer, self.config.module) for layer in self.config.layers]

    def _untrained(self, decoder: Decoder) -> Hypernetwork:
        config: MalmenConfig = self.config
        sites = self._sites(decoder)
        shape = decoder.linear(sites[0])
        seed = int(generator(self.seed, "malmen", "weights").integers(2**62))
        network = Hypernetwork(
            shape.in_features,
            shape.out_features,
            len(sites),
            width=config.width,
            blocks=config.blocks,
            rate=config.edit_rate,
            random=torch.Generator().manual_seed(seed),
        )
        return network.to(decoder.device)
