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
        self._study, self._results, self.device, self._missed = study, results, device, missed
        self._published = pd.read_csv(published).set_index(["dataset", "role"])
        self._protocol: Protocol = PROTOCOLS[study.protocol]

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield for each model, dataset and row the cases, the operations and the hours of one device.

        Raises:
            UserError: a model's sizes are not known.
        """
        study = self._study
        for model in study.models:
            shape = self._shape(model)
            for dataset in study.datasets:
                cases = self.cases(dataset)
                made: set[str] = set()
                for row in study.editor_names:
                    work = self._row(model, dataset, row, shape, made)
                    if work is None:
                        continue
                    operations = work.operations(shape, self._context(dataset)) * cases
                    hours = self._hours(shape, work, operations, cases)
                    yield {
                        "model": model,
                        "dataset": dataset,
                        "row": row,
                        "cases": cases,
                        "operations": operations,
                        "hours": hours,
                    }

    def total(self) -> float:
        """Return the hours of the whole study.

        Raises:
            UserError: a model's sizes are not known.
        """
        before = sum(one["hours"] for one in self.preparing())
        return before + sum(float(row["hours"]) for row in self.rows())

    def edits(self, model: str, dataset: str, row: str) -> float:
        """Return the hours of a row's edit jobs of all folds, after what it needs has been made.

        An editor whose computing isn't known is taken for one that costs as much as evaluating its edits.

        Raises:
            UserError: the model's sizes are not known.
        """
        made = {need.digest for need in self._configured(model, row, dataset).needs()}
        return self._alone(model, dataset, row, made)

    def values(self, model: str, dataset: str) -> float:
        """Return the hours, for all folds, of what codebooks share: their values, and outputs under them.

        Raises:
            UserError: the model's sizes are not known.
        """
        study = self._study
        rows = [row for row in study.editor_names if study.editor(row) in costs.CODEBOOKS]
        return max((self._alone(model, dataset, row, set()) for row in rows), default=0.0)

    def vectors(self, model: str, dataset: str) -> float:
        """Return the hours, for all folds, of what MEMIT or PMET seek before they write.

        Raises:
            UserError: the model's sizes are not known.
        """
        study, shape, texts = self._study, self._shape(model), self.texts(dataset)
        works = [
            costs.vectors(shape, texts, self._configured(model, row, dataset).config)
            for row in study.editor_names
            if study.editor(row) in costs.SPREAD
        ]
        return max((self._work_hours(dataset, shape, work) for work in works), default=0.0)

    def unedited(self, model: str, dataset: str) -> float:
        """Return the hours of evaluating all cases once.

        Raises:
            UserError: the model's sizes are not known.
        """
        shape, texts = self._shape(model), self.texts(dataset)
        return self._work_hours(dataset, shape, costs.evaluation(shape, texts, self._protocol, self._missed))

    def _alone(self, model: str, dataset: str, row: str, made: set[str]) -> float:
        shape = self._shape(model)
        work = self._row(model, dataset, row, shape, made)
        return self.unedited(model, dataset) if work is None else self._work_hours(dataset, shape, work)

    def _shape(self, model: str) -> Shape:
        return costs.shape_of(self._study.models[model].source, self._results / "models" / model)

    def _work_hours(self, dataset: str, shape: Shape, work: Work) -> float:
        cases = self.cases(dataset)
        return self._hours(shape, work, work.operations(shape, self._context(dataset)) * cases, cases)

    def _context(self, dataset: str) -> float:
        """Return how many tokens a token sees on average."""
        texts = self.texts(dataset)
        return texts.prompts / (2 + texts.neighbours)

    def _row(self, model: str, dataset: str, row: str, shape: Shape, made: set[str]) -> Work | None:
        """Return the computing of a case; None for an editor whose computing isn't known.

        Args:
            made: digests of needs that earlier rows have computed, to which this row's are added.
        """
        editor, texts = self._study.editor(row), self.texts(dataset)
        if editor not in costs.EDITS:
            return None
        configured = self._configured(model, row, dataset)
        config = configured.config
        needs = {need.kind: need.digest for need in configured.needs()}
        if editor not in costs.CODEBOOKS:
            edit = costs.written if needs.get("vectors") in made else costs.EDITS[editor]
            evaluated = costs.evaluation(shape, texts, self._protocol, self._missed)
            return edit(shape, texts, config) + evaluated
        work = Work()
        if needs.get("representations") not in made:
            work += costs.looked_up(shape, texts, config)
        if needs["values"] not in made:
            work += costs.value(shape, texts, config)
            work += costs.fired(shape, texts, self._protocol, self._missed)
        made |= set(needs.values())
        return work

    def _hours(self, shape: Shape, work: Work, operations: float, cases: int) -> float:
        compute, device = self._study.compute, self.device
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
        return self._published[column][task].to_dict()

    def preparing(self) -> Iterator[dict[str, Any]]:
        """Yield what is made before editing and takes long: second moments, and MALMEN's training."""
        study = self._study
        used = {study.editor(row) for row in study.editor_names}
        for model in study.models:
            shape = self._shape(model)
            for layers in self._layers_of_moments(model):
                what = f"second moments of layers {', '.join(map(str, layers))}"
                yield {"model": model, "what": what, "hours": self._moments(shape, layers)}
            if "malmen" in used:
                hours = sum(self.training(model, dataset) for dataset in study.datasets)
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

    def moments(self, model: str) -> float:
        """Return the hours of the longest of the jobs that take a model's second moments.

        Raises:
            UserError: the model's sizes are not known.
        """
        shape = self._shape(model)
        return max((self._moments(shape, layers) for layers in self._layers_of_moments(model)), default=0.0)

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

    def training(self, model: str, dataset: str) -> float:
        """Return the hours that MALMEN's training takes in all folds.

        Each case's activations are computed once; in each step the edited layers, both ways.

        Raises:
            UserError: the model's sizes are not known.
        """
        study, shape, texts = self._study, self._shape(model), self.texts(dataset)
        config = self._configured(model, "malmen", dataset).config
        each = costs.malmen(shape, texts, config)
        near = min(config.neighbours, texts.neighbours)
        answers = near * (texts.neighbour + costs.SPECIFICITY_TOKENS)
        cached = each + Work(shape.layers * (texts.rephrase + texts.target + answers))
        edited = len(config.layers) * (texts.rephrase + texts.target + answers)
        step = Work(4 * edited, 2 * (texts.target + near * costs.SPECIFICITY_TOKENS), 2 * each.others)
        context = self._context(dataset)
        trained_on = self.cases(dataset) if study.training.cases is None else study.training.cases
        operations = trained_on * cached.operations(shape, context)
        operations += study.folds * config.steps * config.batch_size * step.operations(shape, context)
        return self._seconds(operations) / 3600

    def _seconds(self, operations: float) -> float:
        return operations / (self.device.speed[self._study.compute.dtype] * self.device.share)

    def assumptions(self) -> list[str]:
        """Say what the forecast rests on."""
        study, device, compute = self._study, self.device, self._study.compute
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
    lines = ["Hours of one accelerator", "", hours.to_string(float_format=lambda value: f"{value:.1f}"), ""]
    lines += [f"{one['model']}: {one['what']}: {one['hours']:.1f}" for one in before]
    lines += [
        "",
        f"In all: {forecast.total():,.0f} hours, {rows['operations'].sum():.1e} operations of edits",
        "",
    ]
    lines += ["Assumptions:", *(f"- {one}" for one in forecast.assumptions())]
    return "\n".join(lines)
