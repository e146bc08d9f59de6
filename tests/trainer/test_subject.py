from __future__ import annotations

import numpy as np
import pytest
import torch

from pfedge.guarantees import NewRow
from support.audit_toys import WIDTH, Linear


@pytest.mark.parametrize("device", ["meta"])
def test_a_fresh_row_lies_where_the_rows_do(device):
    """As on a GPU: what is drawn on the CPU goes where the model is."""

    class Elsewhere(Linear):
        def rows(self):
            return tuple(part.to(device) for part in super().rows())

    row = Elsewhere(np.zeros((1, WIDTH)), torch.eye(WIDTH)[:2], (0, 2)).fresh_row(torch.Generator().manual_seed(0))
    assert isinstance(row, NewRow)
    assert {part.device.type for part in row.parameters()} == {device}
