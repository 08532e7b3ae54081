import pytest

import tiny


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory):
    """Folders of tiny random models by family."""
    root = tmp_path_factory.mktemp("tiny")
    return {family: tiny.build(family, root / family) for family in tiny.FAMILIES}
