"""A-GRACE without contrastive learning: an ablation (paper, Table VI)."""

from typing import ClassVar

from clme.editors.codebooks import CodebookEditor
from clme.representations import Pool


class AGraceWithoutContrast(CodebookEditor):
    """A-GRACE without an encoder: the key is the mean of the module's inputs itself."""

    name = "a_grace_wo_cl"
    pool: ClassVar[Pool] = "mean"
