from __future__ import annotations

import math

import pytest
import torch

from grownn_hpo.morphism import difference


def test_difference_is_the_largest_over_all_tensors():
    before = (torch.tensor([1.0, 2.0]), torch.tensor([[3.0]]))
    after = (torch.tensor([1.0, 2.25]), torch.tensor([[2.5]]))
    assert difference(before, after) == 0.5
    assert difference(before, before) == 0.0
    assert difference(before[0], after[0]) == 0.25


def test_difference_sees_the_last_bit_of_either_precision():
    for dtype in (torch.float32, torch.float64):
        one = torch.ones(3, dtype=dtype)
        assert difference(one, torch.nextafter(one, 2 * one)) == torch.finfo(dtype).eps


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_what_is_not_finite_is_never_unchanged(broken):
    tensor = torch.tensor([0.0, broken])
    assert difference(tensor, tensor) == math.inf
    assert difference(torch.zeros(2), tensor) == math.inf


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ValueError, match="cannot be compared"):
        difference(torch.zeros(2), torch.zeros(3))
    with pytest.raises(ValueError, match="cannot be compared"):
        difference([torch.zeros(2)], [torch.zeros(2), torch.zeros(2)])
    with pytest.raises(ValueError, match="nothing to compare"):
        difference([torch.zeros(0, 2)], [torch.zeros(0, 2)])
