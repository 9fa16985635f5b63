"""Images with what is known about each, as HTML: drawn in milliseconds, readable on light and dark pages."""

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from ..results.replay import Prediction

# Mid tones with enough contrast on white and on near-black; shape or text says the same as colour.
BLUE, ORANGE, GREY = "#3b8ac4", "#dd7a1f", "#808080"
INK, FAINT = "var(--jp-content-font-color1, #222)", "var(--jp-content-font-color2, #666)"


@dataclass(frozen=True)
class Bar:
    """A score in a batch given the images before, the same alone (None: not known), and the largest of all, for the scale."""

    score: float
    alone: float | None
    most: float

    @property
    def shares(self) -> tuple[float, float]:
        """Both as parts of the largest, from 0 to 1; 0 where the second is not known."""
        score, alone = (min(1.0, max(0.0, value or 0.0) / self.most) for value in (self.score, self.alone))
        return score, alone


@dataclass(frozen=True)
class Card:
    """One image `[C, H, W]` (floats as the network sees it, or uint8) and the lines written under it."""

    image: Tensor
    lines: Sequence[str]
    noisy: bool = False
    true_class: int = -1
    prediction: Prediction | None = None
    bar: Bar | None = None


def class_line(class_names: Sequence[str], true_class: int) -> str:
    """What stands under an image as its class; -1 is unknown."""
    return f"class {class_names[true_class]}" if true_class >= 0 else "class unknown"


def cards(shown: Sequence[Card], class_names: Sequence[str], size: int = 84, none: str = "no images") -> str:
    """The images side by side; all text is escaped."""
    if not shown:
        return note(none)
    body = "".join(_card(card, class_names, size) for card in shown)
    return f'<div class="al-cards" style="display: flex; flex-wrap: wrap; gap: 10px; color: {INK}">{body}</div>'


def _card(card, class_names, size):
    frame = f"3px dashed {ORANGE}" if card.noisy else f"1px solid {GREY}"
    badge = f'<b style="background: {ORANGE}; color: #000; padding: 0 4px; border-radius: 3px">noisy</b>' if card.noisy else ""
    if card.prediction:  # the charts of a row at one height
        badge = f'<div style="height: 18px">{badge}</div>'
    lines = "".join(f"<div>{html.escape(line)}</div>" for line in card.lines)
    chart = _chart(card.prediction, class_names, card.true_class) if card.prediction else ""
    bar = _bar(card.bar, size) if card.bar else ""
    alt = html.escape("; ".join([*card.lines, "noisy"] if card.noisy else card.lines), quote=True)
    width = max(size, 124 if chart else 0)
    return (
        f'<div class="al-card" style="width: {width + 8}px; font-size: 12px; line-height: 1.35; overflow-wrap: anywhere">'
        f'<img src="{data_uri(png_pixels(card.image))}" alt="{alt}" width="{size}" height="{size}" '
        f'style="image-rendering: pixelated; border: {frame}; box-sizing: border-box; object-fit: contain; margin: 0">'
        f"{bar}{lines}{badge}{chart}</div>"
    )


def _bar(bar: Bar, width: int) -> str:
    """The score filled, and framed what it would be alone: the gap is what the images before have taken away."""
    filled, framed = ((width - 2) * share for share in bar.shares)
    frame = f'<rect x="1" y="1" width="{framed:.1f}" height="9" fill="none" stroke="{INK}"/>' if bar.alone is not None else ""
    said = f"score {bar.score:.3g}" + (f", alone {bar.alone:.3g}" if bar.alone is not None else "")
    return (
        f'<svg role="img" aria-label="{said}" width="{width}" height="12" style="display: block"><title>{said}</title>'
        f'<rect x="1" y="1" width="{filled:.1f}" height="9" fill="{BLUE}"/>{frame}</svg>'
    )


def _chart(p: Prediction, class_names, true_class) -> str:
    """Mean probability of each class with its spread, the true class marked; below, how the entropy splits."""
    step, high = 120 / len(p.mean), 46
    parts = [f'<line x1="0" x2="120" y1="{high}" y2="{high}" stroke="{GREY}"/>']
    for c, (mean, spread) in enumerate(zip(p.mean, p.spread)):
        x, top = step * (c + 0.5), high * (1 - mean)
        low, up = high * (1 - max(mean - spread, 0)), high * (1 - min(mean + spread, 1))
        name = html.escape(f"{class_names[c]}: {mean:.0%} ± {spread:.0%}")
        parts.append(
            f"<g><title>{name}</title>"
            f'<rect x="{x - 0.36 * step:.1f}" y="{top:.1f}" width="{0.72 * step:.1f}" height="{high - top:.1f}" fill="{BLUE}"/>'
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{up:.1f}" stroke="{ORANGE}" stroke-width="2"/></g>'
        )
        if c == true_class:
            parts.append(f'<path d="M{x:.1f} {high + 2} l4 6 h-8 z" fill="{INK}"><title>true class</title></path>')
    best = int(np.argmax(p.mean))
    says = html.escape(f"says {class_names[best]}: {p.mean[best]:.0%} ± {p.spread[best]:.0%}")
    widths = [120 * part / max(np.log(len(p.mean)), 1e-9) for part in (p.aleatoric, max(p.epistemic, 0.0))]
    bar = (
        f'<rect x="0" y="1" width="{widths[0]:.1f}" height="8" fill="{GREY}"/>'
        f'<rect x="{widths[0]:.1f}" y="1" width="{widths[1]:.1f}" height="8" fill="{ORANGE}" stroke="{INK}"/>'
        f'<rect x="0.5" y="0.5" width="119" height="9" fill="none" stroke="{GREY}"/>'
    )
    entropies = f"{p.total:.2f} = {p.aleatoric:.2f} + {p.epistemic:.2f}"
    return (
        f'<svg role="img" aria-label="{says}" width="120" height="{high + 10}" style="display: block; margin-top: 4px">'
        f'{"".join(parts)}</svg><div>{says}</div><svg role="img" aria-label="{entropies}" width="120" height="10" '
        f'style="display: block">{bar}</svg><div style="color: {FAINT}">{entropies}</div>'
    )


LEGEND = (
    "<b>Bars</b>: mean probability of each class; the line through a bar: ± one standard deviation over the MC samples; "
    "<b>▲</b> the true class. <b>Lower bar</b>: the predictive entropy out of log C, split into aleatoric (grey, left) + "
    "epistemic (outlined, right), in nats."
)


def note(text: str, bold: bool = False) -> str:
    """A line of escaped text."""
    look = f"color: {INK}; font-weight: 600" if bold else f"color: {FAINT}"
    return f'<div style="{look}; line-height: 1.5; max-width: 64em">{html.escape(text)}</div>'


def shown_pixels(image_C_H_W: Tensor) -> np.ndarray:
    """uint8 `[H, W]` or `[H, W, 3]`; floats beyond 0…1 are rescaled, each image for itself.

    Of channels that are neither one nor three the mean is shown, in grey.
    """
    values = np.asarray(image_C_H_W.cpu())
    if len(values) not in (1, 3):
        values = values.mean(0, keepdims=True).astype(values.dtype)
    if values.dtype != np.uint8:
        low, high = min(values.min(), 0.0), max(values.max(), 1.0)
        values = (255 * (values - low) / (high - low)).astype(np.uint8)
    return values[0] if len(values) == 1 else values.transpose(1, 2, 0)


def png_pixels(image_C_H_W: Tensor) -> bytes:
    """A small image as PNG, one pixel a pixel."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(shown_pixels(image_C_H_W)).save(file, "png")
    return file.getvalue()


def data_uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def figure_html(png: bytes, alt: str, scale: int = 2) -> str:
    """A figure on a white sheet, so that it can be read on a dark page too; `scale`: its pixels per pixel shown.

    On a narrow page it shrinks as far as its text stays readable, then it scrolls.
    """
    width = int.from_bytes(png[16:20], "big") // scale + 16  # from the PNG header
    look = "background: white; padding: 8px; border-radius: 6px; box-sizing: border-box; margin: 0; "
    look += f"max-width: max(100%, {0.85 * width:.0f}px)"
    image = f'<img src="{data_uri(png)}" alt="{html.escape(alt, quote=True)}" width="{width}" style="{look}">'
    return f'<div style="overflow-x: auto">{image}</div>'
