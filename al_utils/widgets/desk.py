"""The desk of `04_be_the_oracle`: images, and a button and a key for each class."""

from pathlib import Path

import anywidget
import traitlets

HERE = Path(__file__).parent
SINGLE_KEYS = "1234567890abcdefghijklmnopqrstuvwxyz"


class Desk(anywidget.AnyWidget):
    """Shows one image, or a grid of them, and sends what the person answers.

    `state` says what is shown; `tiles` are the images of the grid, apart because they seldom change. Messages have
    `kind`, `label`, `image` and `seconds` for an answer, or `undo`, or `submit`.
    """

    _esm, _css = HERE / "desk.js", HERE / "desk.css"
    state = traitlets.Dict().tag(sync=True)
    tiles: traitlets.List = traitlets.List().tag(sync=True)


def keys_for(class_names: list[str]) -> list[str]:
    """A key for each class: its name where that is one character, else its first letter or what is free.

    More classes than there are keys have two or three digits each, to be typed one after the other.
    """
    if len(class_names) > len(SINGLE_KEYS):
        width = len(str(len(class_names) - 1))
        numbers = all(name.isdecimal() and len(name) <= width for name in class_names)
        return [name.zfill(width) if numbers else f"{c:0{width}d}" for c, name in enumerate(class_names)]
    first = [name[:1].lower() for name in class_names]
    if len(set(first)) == len(class_names) and all(letter.isascii() and letter.isalnum() for letter in first):
        return first
    own = [letter if len(name) == 1 and letter in SINGLE_KEYS else "" for name, letter in zip(class_names, first)]
    own = [key if own.index(key) == c else "" for c, key in enumerate(own)]  # "a" and "A" are one key
    free = (key for key in SINGLE_KEYS if key not in own)
    return [key or next(free) for key in own]
