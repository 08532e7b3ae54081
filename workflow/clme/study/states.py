"""What an editor learns on the cases outside of a fold."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from clme.editors import registry
from clme.errors import UserError
from clme.study.cases import outside, select
from clme.study.jobs import training_case
from clme.study.prepare import Preparation, given


def prepare(job: Preparation) -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
    """Train the editor; the file holds its tensors, and as metadata the training's curve.

    The editor is configured with the need's settings alone: its other hyperparameters are at their
    defaults and must not matter.

    Raises:
        UserError: there are too few cases outside of the fold.
    """
    settings = job.settings
    assert settings.editor is not None
    assert settings.fold is not None
    seed = job.need("seed")
    hyperparameters = {name: value for name, value in settings.need.items() if name != "seed"}
    editor = registry.configured(
        settings.editor, protocol="paper", task=None, overrides=hyperparameters, seed=seed
    )
    training = outside(job.all_cases, settings.fold, settings.evaluation, settings.training)
    if len(training) < editor.least_training:
        raise UserError(
            f"{settings.editor} {job.label}: {len(training)} cases to train on outside of the fold, at least"
            f" {editor.least_training} are needed; raise `training.cases`, or use a larger dataset or more"
            " `folds`"
        )
    need = next(need for need in editor.needs() if need.kind == "state")
    test = select(job.all_cases, settings.evaluation) if need.sees_test else []
    editor.check(job.decoder)
    assert job.cases is not None
    files = given(
        [need for need in editor.needs() if need.kind in job.files],
        job.files,
        model=job.model,
        cases=job.cases,
        fold=settings.fold,
        editor=settings.editor,
    )
    state = editor.fit(
        job.decoder,
        [training_case(case) for case in job.encoded(training)],
        [training_case(case) for case in job.encoded([one for one in test if one.fold == settings.fold])],
        files,
        job.folder,
    )
    return state.tensors, {"curve": [dict(record) for record in state.curve]}
