"""Search a process's own memory for a forgotten row. Not collected by pytest.

    python tests/attacks/memory.py BUNDLE forget          # what `pfedge forget` does
    python tests/attacks/memory.py BUNDLE classifier      # a classifier that predicts before and after

What is searched for is never in this process: a second one holds the row, reads /proc/PID/mem and counts. Prints one
JSON line: 64-byte windows of the row found before and after the forget.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SEARCH = """
import sys, json
import numpy as np
from pathlib import Path
from pfedge_runtime.bundle.bundle import Bundle
bundle = Bundle.open(sys.argv[1], read_bank=False)
bank = bundle.stored_bank()
if hasattr(bank, "classes"):
    row = bank.classes[3]
    parts = [row.sum, row.outer]
else:
    row = bank.row(3)
    parts = [row["prompts"], row["head_weight"]]
windows = {}
for part in map(np.ascontiguousarray, parts):
    data = part.tobytes()
    for at in range(0, len(data) - 63, 4):
        if len(set(data[at:at + 64])) > 8:
            windows[data[at:at + 64]] = None
firsts = np.unique(np.frombuffer(b"".join(window[:8] for window in windows), np.uint64))
for line in sys.stdin:
    pid = int(line)
    found = set()
    places = []
    with open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for region in open(f"/proc/{pid}/maps"):
            span, access, *rest = region.split()
            if "r" not in access or (rest and rest[-1] in {"[vvar]", "[vsyscall]", "[vvar_vclock]"}):
                continue
            start, stop = (int(number, 16) for number in span.split("-"))
            try:
                memory.seek(start)
                held = memory.read(stop - start)
            except (OSError, ValueError, OverflowError):
                continue
            here = set()
            for shift in (0, 4):
                words = np.frombuffer(held, np.uint64, (len(held) - shift) // 8, shift)
                near = np.flatnonzero(firsts[np.minimum(np.searchsorted(firsts, words), len(firsts) - 1)] == words)
                here |= {held[at:at + 64] for at in (near * 8 + shift).tolist()} & windows.keys()
            if here:
                places.append((region.split()[-1] if len(rest) > 3 else "anonymous", stop - start, len(here)))
            found |= here
    print(json.dumps({"found": len(found), "of": len(windows), "places": places}), flush=True)
"""


def main() -> None:
    """Forget class 3 and have this process searched."""
    import os
    import shutil

    path, how = Path(sys.argv[1]), sys.argv[2]
    copy = path.with_name("searched-for")
    shutil.copytree(path, copy)
    searcher = subprocess.Popen(
        [sys.executable, "-c", SEARCH, str(copy)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )

    def search() -> dict[str, object]:
        searcher.stdin.write(f"{os.getpid()}\n")
        searcher.stdin.flush()
        return json.loads(searcher.stdout.readline())

    from pfedge_runtime import Bundle, Classifier, forget

    if how == "classifier":
        import numpy as np

        with np.load(path / "selftest.npz") as archive:
            images = archive["images"]
        classifier = Classifier.open(path)
        classifier.predict(images)
        before = search()
        forget(path, ["3"])
        classifier.predict(images)
    else:
        bank = Bundle.open(path).bank()
        before = search()
        del bank
        forget(path, ["3"])
    print(json.dumps({"before": before, "after": search()}))  # noqa: T201 -- its output


if __name__ == "__main__":
    main()
