"""The folder that goes to a device: graph, bank, manifest, self-test.

    bundle = Bundle.open("bundle")                             # digests, signature and tombstones are checked
    bundle.manifest.classes, bundle.bank()

May import: `device`, `bank`, `signing`, `inputs`, `files`, `errors`.
"""

from pfedge_runtime.bundle.bundle import BANK, GRAPH, MANIFEST, SELFTEST, STATIC_GRAPH, BankStamp, Bundle, trusted_keys
from pfedge_runtime.bundle.manifest import ClassEntry, Manifest, class_text, find_class

__all__ = [
    "BANK",
    "GRAPH",
    "MANIFEST",
    "SELFTEST",
    "STATIC_GRAPH",
    "BankStamp",
    "Bundle",
    "ClassEntry",
    "Manifest",
    "class_text",
    "find_class",
    "trusted_keys",
]
