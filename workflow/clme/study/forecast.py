"""How long a study takes on accelerators: operations, and reading weights, at speeds that are written out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from clme.editors import registry
from clme.editors.base import Editor
from clme.errors import UserError
from clme.evaluation.protocol import PROTOCOLS, Protocol
from clme.study import costs
from clme.study.config import StudyConfig
from clme.study.costs import Shape, Texts, Work

TEMPLATE = 5
"""Tokens that the prompt's template adds."""
MOMENT_TOKENS = 500
"""Tokens of one of the texts that second moments are taken over, about."""
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
ROLES = {
    "prompt": "effectiveness_input",
    "rephrase": "generalization_input",
    "neighbour": "specificity_input",
    "target": "edit_target",
}


@dataclass(frozen=True)
class Device:
    """An accelerator, as its data sheet has it, and how much of that is reached.

    Attributes:
        name: what it is called.
        speed: operations per second, by precision.
        bandwidth: bytes per second that its memory gives.
        share: the part of the speed that is reached.
    """

    name: str
    speed: dict[str, float]
    bandwidth: float
    share: float


A100 = Device(
    "NVIDIA A100 80GB SXM", {"float32": 19.5e12, "bfloat16": 312e12, "float16": 312e12}, 2.0e12, 0.4
)
"""By NVIDIA's data sheet; float32 without TF32, which PyTorch does not use for products by default."""


class Forecast:
    """The hours that a study takes.

    Args:
        study: its configuration.
        published: the paper's Table III: numbers of cases and lengths of texts.
        results: the folder of the study's results, for the sizes of models that are there.
        device: where it runs.
        missed: part of the expected tokens that edits miss, and which are generated one by one.
    """

    def __init__(
        self, study: StudyConfig, published: Path, results: Path, device: Device, missed: float
    ) -> None:
        self._study, self._results, self._device, self._missed = study, results, device, missed
        self._published = pd.read_csv(published)
        self._protocol: Protocol = PROTOCOLS[study.protocol]

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield for each model, dataset and row the cases, the operations and the hours of one device.

        Raises:
            UserError: a model's sizes are not known.
        """
        study = self._study
        for model, about in study.models.items():
            shape = costs.shape_of(about.source, self._results / "models" / model)
            for dataset in study.datasets:
                texts, cases = self.texts(dataset), self.cases(dataset)
                made: set[str] = set()
                for row in study.editor_names:
                    work = self._row(model, dataset, row, shape, texts, made)
                    if work is None:
                        continue
                    context = texts.prompts / (2 + texts.neighbours)
                    operations = work.operations(shape, context) * cases
                    hours = self._hours(shape, work, operations, cases)
                    yield {
                        "model": model,
                        "dataset": dataset,
                        "row": row,
                        "cases": cases,
                        "operations": operations,
                        "hours": hours,
                    }

    def _row(
        self, model: str, dataset: str, row: str, shape: Shape, texts: Texts, made: set[str]
    ) -> Work | None:
        """Return the computing of a case; None for an editor whose computing isn't known.

        Args:
            made: digests of needs that earlier rows have computed, to which this row's are added.
        """
        editor = self._study.editor(row)
        if editor not in costs.EDITS:
            return None
        configured = self._configured(model, row, dataset)
        config = configured.config
        if editor not in costs.CODEBOOKS:
            evaluated = costs.evaluation(shape, texts, self._protocol, self._missed)
            return costs.EDITS[editor](shape, texts, config) + evaluated
        needs = {need.kind: need.digest for need in configured.needs()}
        work = Work()
        if needs.get("representations") not in made:
            work += costs.looked_up(shape, texts, config)
        if needs["values"] not in made:
            work += costs.value(shape, texts, config)
            work += costs.fired(shape, texts, self._protocol, self._missed)
        made |= set(needs.values())
        return work

    def _hours(self, shape: Shape, work: Work, operations: float, cases: int) -> float:
        compute, device = self._study.compute, self._device
        reading = work.passes * shape.weights * BYTES[compute.dtype] / device.bandwidth
        batches = cases / compute.batch_cases
        return (operations / (device.speed[compute.dtype] * device.share) + batches * reading) / 3600

    def cases(self, dataset: str) -> int:
        """Return how many cases are edited: as many as the paper's, or those selected."""
        known = int(self._of_published(dataset, "count")["edit_target"])
        limit = self._study.evaluation.cases
        return known if limit is None else min(limit, known)

    def texts(self, dataset: str) -> Texts:
        """Return the mean lengths of a dataset's texts, as the paper has them."""
        means = self._of_published(dataset, "mean")
        found = {name: float(means[role]) for name, role in ROLES.items()}
        prompts = {name: found[name] + TEMPLATE for name in ("prompt", "rephrase", "neighbour")}
        neighbours = self._study.datasets[dataset].neighbours
        return Texts(**prompts, target=found["target"], neighbours=neighbours)

    def _of_published(self, dataset: str, column: str) -> dict[str, Any]:
        """Return a column of Table III, by role, for the paper's dataset of the same task."""
        task = self._study.datasets[dataset].task.upper()
        part = self._published[self._published["dataset"] == task]
        return dict(zip(part["role"], part[column], strict=True))

    def preparing(self) -> Iterator[dict[str, Any]]:
        """Yield what is made before editing and takes long: second moments, and MALMEN's training."""
        study = self._study
        used = {study.editor(row) for row in study.editor_names}
        for model, about in study.models.items():
            shape = costs.shape_of(about.source, self._results / "models" / model)
            for layers in self._layers_of_moments(model):
                what = f"second moments of layers {', '.join(map(str, layers))}"
                yield {"model": model, "what": what, "hours": self._moments(shape, layers)}
            if "malmen" in used:
                hours = sum(self._training(model, dataset, shape) for dataset in study.datasets)
                yield {"model": model, "what": "MALMEN's training, all folds", "hours": hours}

    def _configured(self, model: str, row: str, dataset: str) -> Editor:
        study, task = self._study, self._study.datasets[dataset].task
        return registry.configured(
            study.editor(row),
            protocol=study.protocol,
            task=task,
            overrides=study.hyperparameters(model, row, task),
            seed=study.seed,
        )

    def _layers_of_moments(self, model: str) -> list[list[int]]:
        """Return the layers of each file of second moments that the rows need."""
        dataset = next(iter(self._study.datasets))
        needs = [
            need
            for row in self._study.editor_names
            for need in self._configured(model, row, dataset).needs()
            if need.kind == "moments"
        ]
        return list({need.digest: need.settings["layers"] for need in needs}.values())

    def _moments(self, shape: Shape, layers: Sequence[int]) -> float:
        study = self._study
        tokens = study.moments.samples * study.moments.fraction * min(MOMENT_TOKENS, study.moments.max_tokens)
        read = Work((max(layers) + 1) * tokens)
        products = 2 * len(layers) * shape.inner**2 * tokens
        return self._seconds(read.operations(shape, MOMENT_TOKENS / 2) + products) / 3600

    def _training(self, model: str, dataset: str, shape: Shape) -> float:
        """MALMEN in all folds: each case's activations once; in each step the edited layers, both ways."""
        study, texts = self._study, self.texts(dataset)
        config = self._configured(model, "malmen", dataset).config
        each = costs.malmen(shape, texts, config)
        near = min(config.neighbours, texts.neighbours)
        answers = near * (texts.neighbour + costs.SPECIFICITY_TOKENS)
        cached = each + Work(shape.layers * (texts.rephrase + texts.target + answers))
        edited = len(config.layers) * (texts.rephrase + texts.target + answers)
        step = Work(4 * edited, 2 * (texts.target + near * costs.SPECIFICITY_TOKENS), 2 * each.others)
        context = texts.prompts / (2 + texts.neighbours)
        trained_on = self.cases(dataset) if study.training.cases is None else study.training.cases
        operations = trained_on * cached.operations(shape, context)
        operations += study.folds * config.steps * config.batch_size * step.operations(shape, context)
        return self._seconds(operations) / 3600

    def _seconds(self, operations: float) -> float:
        return operations / (self._device.speed[self._study.compute.dtype] * self._device.share)

    def assumptions(self) -> list[str]:
        """Say what the forecast rests on."""
        study, device, compute = self._study, self._device, self._study.compute
        beams = self._protocol.fluency_beams
        speed = device.speed[compute.dtype] / 1e12
        return [
            f"{device.name}: {speed:g} TFLOP/s in {compute.dtype}, of which {device.share:.0%} are reached;"
            f" {device.bandwidth / 1e12:g} TB/s, at which all weights are read in each pass of a batch of"
            f" {compute.batch_cases} cases",
            "lengths of texts and numbers of cases are those of the paper's Table III, and"
            f" {TEMPLATE} tokens of the template",
            f"{self._missed:.0%} of the expected tokens are missed, and generated one by one",
            "every optimisation takes all of its steps; no case is padded to another's length",
            "no codebook fires on a neighbour",
            f"protocol {study.protocol}, {beams} beams for fluency; {study.folds} folds",
            f"second moments: {study.moments.samples:,} texts of {MOMENT_TOKENS} tokens on average",
            "left out: loading, building datasets, the encoders' training, solving linear systems, metrics,"
            " and the cases that are edited one at a time for time and memory",
        ]


def table(forecast: Forecast) -> str:
    """Return hours by model and row, what is made before, and the assumptions.

    Raises:
        UserError: a model's sizes are not known, or no editor's computing is.
    """
    rows = pd.DataFrame(forecast.rows())
    if rows.empty:
        raise UserError("plan: none of the study's editors is one whose computing is known")
    hours = rows.pivot_table(
        index="row", columns=["model", "dataset"], values="hours", sort=False, aggfunc="sum"
    )
    hours.loc["all rows"] = hours.sum()
    before = list(forecast.preparing())
    total = float(rows["hours"].sum()) + sum(one["hours"] for one in before)
    lines = ["Hours of one accelerator", "", hours.to_string(float_format=lambda value: f"{value:.1f}"), ""]
    lines += [f"{one['model']}: {one['what']}: {one['hours']:.1f}" for one in before]
    lines += ["", f"In all: {total:,.0f} hours, {rows['operations'].sum():.1e} operations of edits", ""]
    lines += ["Assumptions:", *(f"- {one}" for one in forecast.assumptions())]
    return "\n".join(lines)
