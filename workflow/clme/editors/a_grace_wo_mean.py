"""A-GRACE without the mean: an ablation (paper, Table VI)."""

from typing import ClassVar

from clme.editors.a_grace import AGrace
from clme.representations import Pool


class AGraceWithoutMean(AGrace):
    """A-GRACE whose encoder is trained on, and applied to, the last token's representation."""

    name = "a_grace_wo_mean"
    pool: ClassVar[Pool] = "last"
