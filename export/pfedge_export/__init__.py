"""Export a prompt-bank model as a bundle.

    from pfedge_export import BundleDescription, export_bundle

    export_bundle(Path("bundle"), module, bank, description, images)

`module` is any `torch.nn.Module` that maps (images, prompts, head_weight, head_bias) to logits, see
`pfedge_export.graph`; `images` are real ones, on which graph and module are compared before anything is kept.
"""

import pfedge_runtime  # noqa: F401 -- before torch: it keeps libraries from calling their makers
from pfedge_export.package import BundleDescription, export_bundle
from pfedge_export.parity import ParityError, ParityReport

__version__ = "0.1.0"

__all__ = ["BundleDescription", "ParityError", "ParityReport", "export_bundle"]
