import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from clme.randomness import generator


def test_numbers_belong_to_the_thing():
    first = generator(0, "grace", "case-1").random(4)
    generator(0, "grace", "case-2").random(100)
    assert np.array_equal(generator(0, "grace", "case-1").random(4), first)


@settings(max_examples=50, deadline=None)
@given(
    st.tuples(st.integers(0, 9), st.lists(st.text("ab", max_size=2), max_size=3)),
    st.tuples(st.integers(0, 9), st.lists(st.text("ab", max_size=2), max_size=3)),
)
def test_other_seeds_and_names_give_other_numbers(one, other):
    """Names are kept apart: ("ab", "c") is not ("a", "bc")."""
    same = np.array_equal(generator(one[0], *one[1]).random(3), generator(other[0], *other[1]).random(3))
    assert same == (one == other)


def test_the_numbers_stay_what_they_are():
    """Results of earlier versions depend on them."""
    drawn = generator(7, "fluency", "cnle-00001", "prompt").integers(0, 1000, 5).tolist()
    assert drawn == [564, 537, 166, 687, 24]
