"""From a file to the array that the graph takes: images, DICOM, sounds; sized as training sized them.

    preprocess = preprocess_from_json(manifest["preprocess"])
    array = preprocess(preprocess.read(Path("cell.png")))      # uint8 [H, W, 3], or float32 [frames, mels]

| what | where |
|---|---|
| `picture` | the pixel types of ordinary images, their frames and pages |
| `dicom`, `dicom_rendering`, `dicom_lut` | decoding DICOM; modality, VOI, presentation; lookup tables |
| `image`, `audio` | one file to one input, or to one a frame |
| `finding` | what of a folder is data |
| `preprocess` | what a manifest says of inputs |

May import: `files`, `errors`.
"""

from pfedge_runtime.inputs.audio import AudioPreprocess, read_sound
from pfedge_runtime.inputs.finding import (
    Found,
    LeftOut,
    find_files,
    first_kind,
    is_foreign_folder,
    kind_of,
    search,
    search_beside,
)
from pfedge_runtime.inputs.image import RESAMPLING, ImagePreprocess, read_frames, read_image
from pfedge_runtime.inputs.pixels import Pixels, allow_pixels
from pfedge_runtime.inputs.preprocess import (
    Frame,
    Preprocess,
    preprocess_from_json,
    preprocess_to_json,
    read_files,
)

__all__ = [
    "RESAMPLING",
    "AudioPreprocess",
    "Found",
    "Frame",
    "ImagePreprocess",
    "LeftOut",
    "Pixels",
    "Preprocess",
    "allow_pixels",
    "find_files",
    "first_kind",
    "is_foreign_folder",
    "kind_of",
    "preprocess_from_json",
    "preprocess_to_json",
    "read_files",
    "read_frames",
    "read_image",
    "read_sound",
    "search",
    "search_beside",
]
