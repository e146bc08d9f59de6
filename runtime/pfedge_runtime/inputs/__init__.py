"""From a file to the array that the graph takes: images, DICOM, sounds; sized as training sized them.

    preprocess = preprocess_from_json(manifest["preprocess"])
    array = preprocess(preprocess.read(Path("cell.png")))      # uint8 [H, W, 3], or float32 [frames, mels]

| what | where |
|---|---|
| `picture` | the pixel types of ordinary images, their frames and pages |
| `dicom`, `dicom_rendering`, `dicom_lut` | decoding DICOM; modality, VOI, presentation; lookup tables |
| `image`, `audio` | one file to one input, or to one a frame |
| `preprocess` | what a manifest says of inputs; files and folders |

May import: `files`, `errors`.
"""

from pfedge_runtime.inputs.audio import SOUND_SUFFIXES, AudioPreprocess, read_sound
from pfedge_runtime.inputs.image import IMAGE_SUFFIXES, RESAMPLING, ImagePreprocess, read_frames, read_image
from pfedge_runtime.inputs.pixels import Pixels, allow_pixels
from pfedge_runtime.inputs.preprocess import (
    Frame,
    Preprocess,
    find_files,
    preprocess_from_json,
    preprocess_to_json,
    read_files,
)

__all__ = [
    "IMAGE_SUFFIXES",
    "RESAMPLING",
    "SOUND_SUFFIXES",
    "AudioPreprocess",
    "Frame",
    "ImagePreprocess",
    "Pixels",
    "Preprocess",
    "allow_pixels",
    "find_files",
    "preprocess_from_json",
    "preprocess_to_json",
    "read_files",
    "read_frames",
    "read_image",
    "read_sound",
]
