"""Pictures nobody took: the procedurally generated images that `builtin:micro` is pretrained on.

Every picture is rendered from a *latent* (what is there: shapes, colours, textures, strokes) and a
*nuisance* (how it happens to be seen: pose, light, blur, noise, what else lies around). Two renderings
of one latent under two nuisances make a positive pair for contrastive learning; the latent itself is a
regression target. No photograph, data set or pretrained network is involved, so the weights carry no
licence but pfedge's own.

    latent = sample_latent(256, torch.Generator().manual_seed(0))
    first, second = render(latent, gen), render(latent, gen)      # uint8-like float [256, 3, 28, 28] in [0, 1]
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor

SIDE = 28
HARMONICS = 5  # boundary harmonics 2..6
LOBES = 4
STROKES = 4
KINDS = ("body", "strokes", "texture")


@dataclass(frozen=True)
class Latent:
    """What a picture shows, for N pictures; every field is float32 with first axis N.

    `kind` [N, 3] one-hot over KINDS. Colours [N, 3] in [0, 1]. `boundary` [N, 5] and `phase` [N, 5] are the
    amplitudes and phases of the outline; `lobes` [N, 4, 3] inner discs (x, y, radius; radius 0 is absent).
    Textures [N, 4]: frequency (cycles per picture), amplitude, orientation, anisotropy. `strokes`
    [N, 4, 6] are control points of quadratic Bezier curves; `stroke_on` [N, 4]; `width` [N, 1].
    """

    kind: Tensor
    ground: Tensor
    body: Tensor
    inner: Tensor
    radius: Tensor
    boundary: Tensor
    phase: Tensor
    lobes: Tensor
    ground_texture: Tensor
    body_texture: Tensor
    inner_texture: Tensor
    strokes: Tensor
    stroke_on: Tensor
    width: Tensor

    def targets(self) -> tuple[Tensor, Tensor]:
        """What a network is asked to read off a rendering: values [N, 35] and their weights [N, 35].

        A quantity that is not visible in a picture has weight 0; phases and positions, which the
        nuisance scrambles, are left out.
        """
        body, strokes, texture = self.kind.unbind(1)
        lobe_radius = self.lobes[..., 2]
        lobe_count = (lobe_radius > 0).float().sum(1)
        has_lobes = body * (lobe_count > 0)
        spread = self.lobes[..., :2].norm(dim=-1).mul(lobe_radius > 0).sum(1) / lobe_count.clamp(min=1)
        everywhere = torch.ones_like(body)
        columns = [
            (self.kind, everywhere),
            (self.ground * 2 - 1, everywhere),
            (self.body * 2 - 1, body + strokes),
            (self.inner * 2 - 1, has_lobes + texture),
            (self.radius * 3 - 2, body),
            (self.boundary * 8, body),
            (lobe_count[:, None] / 2 - 1, body),
            (spread[:, None] * 4, has_lobes),
            (lobe_radius.square().sum(1, keepdim=True) * 8, has_lobes),
            (_texture_target(self.ground_texture), everywhere),
            (_texture_target(self.body_texture), body),
            (_texture_target(self.inner_texture), has_lobes),
            (self.stroke_on.sum(1, keepdim=True) / 2 - 1, strokes),
            (self.width * 8 - 1, strokes),
            ((self.strokes * self.stroke_on[..., None]).mean(1), strokes),
        ]
        values = torch.cat([value for value, _ in columns], dim=1)
        weights = torch.cat([weight[:, None].expand_as(value) for value, weight in columns], dim=1)
        return values, weights

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.kind)

    def to_dict(self) -> dict[str, Tensor]:
        """Return the fields by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def _texture_target(texture: Tensor) -> Tensor:
    return torch.stack([texture[:, 0] / 4 - 1, texture[:, 1] * 8 - 1], dim=1)


def sample_latent(count: int, gen: torch.Generator) -> Latent:
    """Draw `count` latents.

    Colours of the parts are kept apart from each other only by chance: a network must learn subtle
    contrasts too.
    """

    def uniform(*shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        return torch.rand(count, *shape, generator=gen) * (high - low) + low

    def colour(grey: Tensor) -> Tensor:
        value, tint = uniform(1), uniform(3)
        saturation = uniform(1).square()
        hued = value * (1 - saturation) + tint * saturation
        return torch.where(grey, value.expand(-1, 3), hued)

    def texture() -> Tensor:
        return torch.cat(
            [uniform(1, low=0.5, high=8), uniform(1).square() * 0.35, uniform(1, high=math.pi), uniform(1)], dim=1
        )

    kind = F.one_hot(torch.multinomial(torch.tensor([0.55, 0.25, 0.20]), count, replacement=True, generator=gen), 3)
    grey = uniform(1) < 0.3
    lobe_count = torch.randint(0, LOBES + 1, (count, 1), generator=gen)
    present = torch.arange(LOBES)[None] < lobe_count
    lobe_radius = uniform(LOBES, low=0.18, high=0.55) / lobe_count.clamp(min=1).sqrt() * present
    angle, distance = uniform(LOBES, high=2 * math.pi), uniform(1, high=0.45) * uniform(LOBES, low=0.6)
    lobes = torch.stack([angle.cos() * distance, angle.sin() * distance, lobe_radius], dim=-1)
    first = uniform(1, 2, low=-0.7, high=0.7)
    steps = uniform(STROKES * 2, 2, low=-0.8, high=0.8)
    # strokes join end to end more often than not, as in writing
    points = torch.cat([first, steps], dim=1).clamp(-0.8, 0.8)
    strokes = torch.stack([points[:, 2 * i : 2 * i + 3].flatten(1) for i in range(STROKES)], dim=1)
    stroke_on = (torch.arange(STROKES)[None] < torch.randint(1, STROKES + 1, (count, 1), generator=gen)).float()
    decay = torch.tensor([1.0, 0.7, 0.5, 0.4, 0.3])
    return Latent(
        kind=kind.float(),
        ground=colour(grey),
        body=colour(grey),
        inner=colour(grey),
        radius=uniform(1, low=0.3, high=0.95),
        boundary=uniform(HARMONICS).square() * decay * 0.3,
        phase=uniform(HARMONICS, high=2 * math.pi),
        lobes=lobes,
        ground_texture=texture(),
        body_texture=texture(),
        inner_texture=texture(),
        strokes=strokes,
        stroke_on=stroke_on,
        width=uniform(1, low=0.04, high=0.22),
    )


def render(latent: Latent, gen: torch.Generator) -> Tensor:
    """Render every latent once under a fresh nuisance: float32 [N, 3, 28, 28] in [0, 1]."""
    count = len(latent)

    def uniform(*shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        return torch.rand(count, *shape, generator=gen) * (high - low) + low

    x, y = _pose(latent, gen)
    body, strokes, texture = (latent.kind[:, i, None, None] for i in range(3))

    outline = _body_mask(latent, x, y)
    inside = _lobe_mask(latent, x, y) * outline * body
    outline = outline * body
    ground_field = _texture_field(latent.ground_texture, gen)
    picture = latent.ground[..., None, None] + _tint(ground_field, gen) * (1 + texture)[:, None]
    other = (_texture_field(latent.body_texture, gen, unit=True) > 0).float()
    picture = _over(picture, latent.inner, other * texture)
    picture = _clutter(picture, latent, gen)
    body_colour = latent.body[..., None, None] + _tint(_texture_field(latent.body_texture, gen), gen)
    inner_colour = latent.inner[..., None, None] + _tint(_texture_field(latent.inner_texture, gen), gen)
    picture = picture + (body_colour - picture) * outline[:, None]
    picture = picture + (inner_colour - picture) * inside[:, None]
    picture = _over(picture, latent.body, _stroke_mask(latent, x, y) * strokes)

    light = uniform(1, 1, 1, low=0.8, high=1.2) * (1 + 0.1 * torch.randn(count, 3, 1, 1, generator=gen))
    picture = (picture - 0.5) * light + 0.5 + uniform(1, 1, 1, low=-0.08, high=0.08)
    picture = _blur(picture, gen)
    noise = uniform(1, 1, 1).square() * 0.08
    return (picture + noise * torch.randn(picture.shape, generator=gen)).clamp(0, 1)


def _pose(latent: Latent, gen: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return picture coordinates [N, 28, 28] seen through a random pose; strokes turn only a little."""
    count = len(latent)
    turn = (torch.rand(count, generator=gen) * 2 - 1) * math.pi
    turn = torch.where(latent.kind[:, 1] > 0, turn * 0.08, turn)
    scale = 1 / (0.85 + 0.3 * torch.rand(count, generator=gen))
    shift = (torch.rand(count, 2, generator=gen) * 2 - 1) * 0.18
    axis = (torch.arange(SIDE) + 0.5) / SIDE * 2 - 1
    gx = axis[None, None, :] - shift[:, 0, None, None]
    gy = axis[None, :, None] - shift[:, 1, None, None]
    cos, sin = (turn.cos() * scale)[:, None, None], (turn.sin() * scale)[:, None, None]
    return gx * cos - gy * sin, gx * sin + gy * cos


def _soft(distance: Tensor) -> Tensor:
    """One-pixel-wide edge: 1 inside (positive distance), 0 outside."""
    return torch.sigmoid(distance * (SIDE / 2) * 1.5)


def _body_mask(latent: Latent, x: Tensor, y: Tensor) -> Tensor:
    theta = torch.atan2(y, x)
    reach = torch.ones_like(theta)
    for i in range(HARMONICS):
        reach = reach + latent.boundary[:, i, None, None] * torch.cos((i + 2) * theta - latent.phase[:, i, None, None])
    return _soft(latent.radius[..., None] * reach - (x * x + y * y).sqrt())


def _lobe_mask(latent: Latent, x: Tensor, y: Tensor) -> Tensor:
    """Union of the inner discs, whose places and radii are in units of the body's radius."""
    mask = torch.zeros_like(x)
    scale = latent.radius[..., None]
    for i in range(LOBES):
        cx, cy, radius = (latent.lobes[:, i, j, None, None] * scale for j in range(3))
        disc = _soft(radius - ((x - cx) ** 2 + (y - cy) ** 2).sqrt()) * (radius > 0)
        mask = torch.maximum(mask, disc)
    return mask


def _stroke_mask(latent: Latent, x: Tensor, y: Tensor) -> Tensor:
    """Pixels within `width` of a quadratic Bezier curve."""
    t = torch.linspace(0, 1, 12)[:, None]
    basis = torch.cat([(1 - t) ** 2, 2 * t * (1 - t), t**2], dim=1)  # [12, 3]
    control = latent.strokes.view(-1, STROKES, 3, 2)
    curve = torch.einsum("sk,nckd->ncsd", basis, control)
    curve = curve + 9 * (1 - latent.stroke_on)[:, :, None, None]  # absent strokes lie far outside
    points = curve.flatten(1, 2)
    nearest = torch.full_like(x, 99.0)
    for i in range(points.shape[1]):
        px, py = points[:, i, 0, None, None], points[:, i, 1, None, None]
        nearest = torch.minimum(nearest, (x - px) ** 2 + (y - py) ** 2)
    return _soft(latent.width[..., None] - nearest.sqrt())


def _texture_field(texture: Tensor, gen: torch.Generator, *, unit: bool = False) -> Tensor:
    """Band-pass noise [N, 28, 28] of the given frequency, amplitude, orientation and anisotropy."""
    count = len(texture)
    fy = torch.fft.fftfreq(SIDE, 1 / SIDE)[None, :, None]
    fx = torch.fft.rfftfreq(SIDE, 1 / SIDE)[None, None, :]
    frequency, amplitude, orientation, anisotropy = (texture[:, i, None, None] for i in range(4))
    radial = torch.exp(-(((fx**2 + fy**2).sqrt() - frequency) ** 2) / (0.5 + 0.15 * frequency) ** 2)
    across = torch.cos(torch.atan2(fy, fx) - orientation) ** 2
    spectrum = torch.fft.rfft2(torch.randn(count, SIDE, SIDE, generator=gen)) * radial
    spectrum = spectrum * (1 - anisotropy + anisotropy * across**4)
    field = torch.fft.irfft2(spectrum, s=(SIDE, SIDE))
    field = field / field.std(dim=(1, 2), keepdim=True).clamp(min=1e-4)
    return field if unit else field * amplitude


def _tint(field: Tensor, gen: torch.Generator) -> Tensor:
    """Spread a scalar field [N, H, W] over the channels, slightly unevenly."""
    return field[:, None] * (1 + 0.3 * torch.randn(len(field), 3, 1, 1, generator=gen))


def _over(picture: Tensor, colour: Tensor, mask: Tensor) -> Tensor:
    return picture + (colour[..., None, None] - picture) * mask[:, None]


def _clutter(picture: Tensor, latent: Latent, gen: torch.Generator) -> Tensor:
    """Put other discs around the body: things that happen to lie in the picture."""
    count = len(picture)
    axis = (torch.arange(SIDE) + 0.5) / SIDE * 2 - 1
    colour = torch.rand(count, 3, generator=gen)
    for _ in range(3):
        angle = torch.rand(count, 1, 1, generator=gen) * 2 * math.pi
        distance = 0.8 + 0.5 * torch.rand(count, 1, 1, generator=gen)
        radius = 0.15 + 0.4 * torch.rand(count, 1, 1, generator=gen)
        dx, dy = axis[None, None, :] - angle.cos() * distance, axis[None, :, None] - angle.sin() * distance
        shown = (torch.rand(count, 1, 1, generator=gen) < 0.5) * latent.kind[:, 0, None, None]
        picture = _over(picture, colour, _soft(radius - (dx**2 + dy**2).sqrt()) * shown * 0.8)
    return picture


def _blur(picture: Tensor, gen: torch.Generator) -> Tensor:
    """Blur by a random amount: from nothing to what an 8x8 picture enlarged to 28x28 looks like."""
    coarse = F.interpolate(
        F.interpolate(picture, size=(10, 10), mode="area"), size=(SIDE, SIDE), mode="bilinear", align_corners=False
    )
    soft = F.avg_pool2d(F.pad(picture, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    choice = torch.rand(len(picture), 1, 1, 1, generator=gen)
    return torch.where(choice < 0.2, coarse, torch.where(choice < 0.5, soft, picture))
