"""Where things lie that tests read."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests"
FORMATS = TESTS / "formats"
GOLDEN = FORMATS / "v1"
SHARED = Path(os.environ.get("PFEDGE_SHARED", ROOT.parent / "shared"))  # real data and weights, where there are any
