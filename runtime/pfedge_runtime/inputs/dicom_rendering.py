"""How a stored DICOM frame is shown: the steps of PS3.4 N.2 in their order.

    render_grey(stored, FrameAttributes(dataset, 0))        # uint8 [h, w]

| step | what decides | PS3.3 |
|---|---|---|
| modality | a Modality LUT, else Rescale Slope and Intercept, else nothing | C.11.1, C.7.6.16.2.9 |
| VOI | a VOI LUT, else the first window and its function, else the frame's own range | C.11.2, C.7.6.16.2.10 |
| presentation | Presentation LUT Shape, else MONOCHROME1 | C.11.6, C.7.6.3.1.2 |

A table's output range is its own 0 to 2**bits - 1; a window's is the display's. Where a file has a VOI LUT and a
window, the standard leaves the choice to the user: the LUT is taken, for it was made for this image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pfedge_runtime.errors import InputError
from pfedge_runtime.inputs.dicom_lut import LookupTable, lookup_table, palette, reinterpret
from pfedge_runtime.inputs.pixels import WHITE, Pixels, to_eight_bits

Values = NDArray[np.float64]

# X-ray angiography and fluoroscopy: their Modality LUT leads back to the beam's intensity, and is not for display
# (PS3.3 C.8.7.1.1.2).
LINEARISED = {"1.2.840.10008.5.1.4.1.1.12.1", "1.2.840.10008.5.1.4.1.1.12.2"}


@dataclass(frozen=True)
class FrameAttributes:
    """The attributes that hold for one frame.

    Enhanced objects keep them in functional groups: what stands in the frame's own group comes before what all
    frames share, and both before the data set.

    Attributes:
        dataset: a pydicom data set.
        frame: which frame, from 0.
    """

    dataset: Any
    frame: int

    def get(self, keyword: str) -> Any:  # noqa: ANN401 -- pydicom is an extra
        """Return an attribute of the data set; None where it is absent or empty."""
        return _present(self.dataset.get(keyword))

    def macro(self, keyword: str) -> Any:  # noqa: ANN401 -- as above
        """Return the functional group's item named `keyword` that holds for this frame, else the data set."""
        for groups, at in (("PerFrameFunctionalGroupsSequence", self.frame), ("SharedFunctionalGroupsSequence", 0)):
            items = self.get(groups)
            if items is None:
                continue
            if at >= len(items):
                message = f"its {groups} has {len(items)} items, and none for frame {at + 1}"
                raise InputError(message)
            if found := _present(items[at].get(keyword)):
                return found[0]
        return self.dataset

    @property
    def signed(self) -> bool:
        """Whether stored values are signed; floating-point ones always are."""
        return "PixelData" not in self.dataset or bool(self.get("PixelRepresentation"))

    @property
    def order(self) -> str:
        """The byte order of words: `<` or `>`."""
        return "<" if self.dataset.file_meta.TransferSyntaxUID.is_little_endian else ">"


def render_grey(stored: NDArray[Any], attributes: FrameAttributes) -> Pixels:
    """Render one grey frame.

    Args:
        stored: `[h, w]`, whole numbers as PixelData holds them, or floating-point ones.
        attributes: what holds for the frame.

    Raises:
        InputError: an attribute is one of a pair, out of range, or asks for what is not rendered here.
    """
    _refuse_colour_over_grey(attributes)
    values, lowest = _modality(stored, attributes)
    voi = attributes.macro("FrameVOILUTSequence")
    if (items := _present(voi.get("VOILUTSequence"))) is not None:
        table = lookup_table(items[0], signed=lowest < 0, order=attributes.order)
        grey = _whole(table, values) * (WHITE / (2**table.bits - 1))
    elif (window := _window(voi)) is not None:
        grey = WHITE * window(values)
    else:
        return _over_own_range(values, _padding(stored, attributes), inverted=_inverted(attributes))
    return _to_display(grey, inverted=_inverted(attributes))


def render_palette(stored: NDArray[Any], attributes: FrameAttributes) -> Pixels:
    """Render one PALETTE COLOR frame of whole numbers [h, w] to RGB [h, w, 3].

    Raises:
        InputError: the palette is missing, enhanced, or contradicts its descriptor.
    """
    tables = palette(attributes.dataset, signed=attributes.signed, order=attributes.order)
    indices = stored.astype(np.int64)
    return np.stack([to_eight_bits(table(indices), table.bits) for table in tables], axis=2)


@dataclass(frozen=True)
class Window:
    """A window as PS3.3 C.11.2.1.2 and C.11.2.1.3 define it: values to 0..1."""

    centre: float
    width: float
    function: str

    def __call__(self, values: Values) -> Values:
        """Apply the window to values of any shape."""
        if self.function == "SIGMOID":
            # where exp overflows, the result is 0, as it should be
            with np.errstate(over="ignore"):
                return 1 / (1 + np.exp(-4 * (values - self.centre) / self.width))
        centre, width = self.centre, self.width
        if self.function == "LINEAR":  # its ends are the centres of the first and last grey level
            centre, width = centre - 0.5, width - 1
        if width == 0:  # a threshold
            return (values > centre).astype(np.float64)
        return np.clip((values - centre) / width + 0.5, 0, 1)


def _modality(stored: NDArray[Any], attributes: FrameAttributes) -> tuple[Values, float]:
    """Return the modality values, and the lowest that the transform can yield."""
    bits = integer(attributes.dataset, "BitsStored", 0)
    ends = np.array([-(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1] if attributes.signed else [0, 2.0**bits - 1])
    items = attributes.get("ModalityLUTSequence")
    if items is not None and attributes.get("SOPClassUID") not in LINEARISED:
        table = lookup_table(items[0], signed=attributes.signed, order=attributes.order)
        return _whole(table, stored.astype(np.float64)), 0.0
    source = attributes.macro("PixelValueTransformationSequence")
    slope, intercept = number(source, "RescaleSlope"), number(source, "RescaleIntercept")
    if (slope is None) != (intercept is None):
        message = f"of RescaleSlope ({slope}) and RescaleIntercept ({intercept}) it has only one"
        raise InputError(message)
    if slope is None or intercept is None:
        return stored.astype(np.float64), float(ends[0])
    if slope == 0:
        message = "its RescaleSlope is 0"
        raise InputError(message)
    return stored * slope + intercept, float((ends * slope + intercept).min())


def _window(source: Any) -> Window | None:  # noqa: ANN401 -- pydicom is an extra
    """Return the first window; None unless both its centre and its width are given."""
    centre, width = number(source, "WindowCenter"), number(source, "WindowWidth")
    if centre is None or width is None:
        return None
    function = str(_present(source.get("VOILUTFunction")) or "LINEAR").strip()
    if function not in {"LINEAR", "LINEAR_EXACT", "SIGMOID"}:
        message = f"its VOILUTFunction {function!r} is none of LINEAR, LINEAR_EXACT, SIGMOID"
        raise InputError(message)
    if width <= 0 or (function == "LINEAR" and width < 1):
        least = "at least 1" if function == "LINEAR" else "more than 0"
        message = f"its WindowWidth is {width:g}; of a {function} window it must be {least}"
        raise InputError(message)
    return Window(centre, width, function)


def _over_own_range(values: Values, padded: NDArray[np.bool_], *, inverted: bool) -> Pixels:
    """Stretch the values to 0..255 where nothing says which matter; padding has no say, and is black."""
    inside = values[~padded]
    low, high = (inside.min(), inside.max()) if inside.size else (0.0, 0.0)
    if not math.isfinite(high - low):
        message = "it has values that are not finite, and no window"
        raise InputError(message)
    grey = (values - low) * (WHITE / (high - low)) if high > low else np.zeros(values.shape)
    shown = _to_display(grey, inverted=inverted)
    shown[padded] = 0
    return shown


def _padding(stored: NDArray[Any], attributes: FrameAttributes) -> NDArray[np.bool_]:
    """Return where the frame is padding: at Pixel Padding Value, or from it to its Range Limit (PS3.3 C.7.5.1.1.2)."""
    kind = {"f4": "Float", "f8": "DoubleFloat"}.get(stored.dtype.str[1:], "")
    value, limit = (attributes.get(f"{kind}PixelPadding{what}") for what in ("Value", "RangeLimit"))
    if value is None:
        return np.zeros(stored.shape, dtype=bool)
    ends = [end for end in (value, limit) if end is not None]
    if not kind:
        ends = [reinterpret(int(end), signed=attributes.signed) for end in ends]
    return np.asarray((stored >= min(ends)) & (stored <= max(ends)))


def _inverted(attributes: FrameAttributes) -> bool:
    """Say whether small values are bright: the Presentation LUT Shape decides, else the photometric interpretation."""
    if attributes.get("PresentationLUTSequence") is not None:
        message = "it has a PresentationLUTSequence, which belongs in a presentation state"
        raise InputError(message)
    shape = attributes.get("PresentationLUTShape")
    if shape is None:
        return bool(attributes.get("PhotometricInterpretation") == "MONOCHROME1")
    if shape not in {"IDENTITY", "INVERSE"}:
        message = f"its PresentationLUTShape {shape!r} is neither IDENTITY nor INVERSE"
        raise InputError(message)
    return bool(shape == "INVERSE")


def _refuse_colour_over_grey(attributes: FrameAttributes) -> None:
    """Refuse what colours a grey image: supplemental and enhanced palettes (PS3.3 C.7.6.19, C.7.6.23)."""
    if attributes.get("RedPaletteColorLookupTableDescriptor") is not None and attributes.get("PixelPresentation") in {
        "COLOR",
        "MIXED",
    }:
        message = "its PixelPresentation asks for a supplemental palette, which is not rendered"
        raise InputError(message)
    for keyword in ("EnhancedPaletteColorLookupTableSequence", "DataFrameAssignmentSequence"):
        if attributes.get(keyword) is not None:
            message = f"its {keyword} asks for an enhanced palette, which is not rendered"
            raise InputError(message)


def _whole(table: LookupTable, values: Values) -> Values:
    """Look up the nearest whole numbers: a rescale may have left fractions."""
    return table(np.floor(values + 0.5).astype(np.int64)).astype(np.float64)


def _to_display(grey: Values, *, inverted: bool) -> Pixels:
    shown = np.clip(np.rint(WHITE - grey if inverted else grey), 0, WHITE)
    if not np.isfinite(shown).all():
        message = "it has values that are not numbers"
        raise InputError(message)
    return shown.astype(np.uint8)


def number(source: Any, keyword: str) -> float | None:  # noqa: ANN401 -- pydicom is an extra
    """Return an attribute's first value; None where it is absent or empty.

    Raises:
        InputError: it is no number.
    """
    try:
        value = _present(source.get(keyword))
        first = value if value is None or isinstance(value, (str, int, float)) else value[0]
        result = None if first is None or first == "" else float(first)
    except (TypeError, ValueError, OverflowError) as error:
        message = f"its {keyword} is no number: {' '.join(str(error).split())}"
        raise InputError(message) from error
    if result is not None and not math.isfinite(result):
        message = f"its {keyword} is {result}"
        raise InputError(message)
    return result


def integer(source: Any, keyword: str, default: int | None = None) -> int:  # noqa: ANN401 -- as above
    """Return an attribute that must be whole; `default` where it is absent or empty.

    Raises:
        InputError: it is not whole, or is absent and has no default.
    """
    value = number(source, keyword)
    if value is None and default is not None:
        return default
    if value is None or value != int(value):
        message = f"it has no {keyword}" if value is None else f"its {keyword} is {value}"
        raise InputError(message)
    return int(value)


def _present(value: Any) -> Any:  # noqa: ANN401 -- pydicom is an extra
    """Return the value; None where it is empty, as an element of length 0 is."""
    return None if value is None or (hasattr(value, "__len__") and len(value) == 0) else value
