"""The softmax over few letters: the usual one, the same for any number of rows."""

from __future__ import annotations

import pytest
import torch

from designkit.diffusion.base import softmax


@pytest.mark.parametrize("letters", [1, 4, 8, 9, 20])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_is_the_usual_one_whatever_the_number_of_rows(letters: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 5 * torch.randn(300, 7, letters, generator=generator, dtype=dtype)
    whole = softmax(logits)
    torch.testing.assert_close(whole, logits.softmax(-1))
    for rows in (0, 1, 2, 9, 64, 299):
        assert torch.equal(softmax(logits[:rows]), whole[:rows])


def test_impossible_letters_and_derivatives() -> None:
    logits = torch.tensor([[0.0, -torch.inf, 0.0]], dtype=torch.float64)
    assert softmax(logits).tolist() == [[0.5, 0.0, 0.5]]
    relaxed = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(softmax, relaxed)
