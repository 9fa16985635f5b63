"""What is known of a parameter, declared once: its words, choices, bounds and the value that older ledgers had."""

import difflib
import math
import reprlib
from collections.abc import Mapping
from dataclasses import Field, dataclass, field
from typing import Any

ALWAYS_THERE = object()
LARGEST = 10**15  # of any whole number: beyond it arithmetic with floats is not exact


@dataclass(frozen=True)
class Option:
    """A parameter of the configuration, as its field's metadata has it.

    `words` name it in reports and in the notebook's comment, where `note` explains it, `left_open` says what its
    sentinel (`""`, `-1`) stands for, and `examples` are shown where its values are known to a registry, not here.
    `choices` maps each allowed value to how a report says it. `older` is the value that was in effect in ledgers made
    before there was the parameter; every other is in all ledgers.
    """

    words: str
    note: str = ""
    left_open: str = ""
    examples: tuple[str, ...] = ()
    choices: Mapping[str, str] | None = None
    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    older: Any = ALWAYS_THERE

    def say(self, value) -> str:
        """How a report writes a value."""
        if isinstance(value, bool):
            return "yes" if value else "no"
        return (self.choices or {}).get(value, value) if isinstance(value, str) else f"{value:,.6g}"

    def comment(self, default, names=()) -> str:
        """What stands behind the parameter in a notebook; `names` are those that a registry knows."""
        listed = [*(self.choices or ()), *names, *self.examples]
        listed = listed if len(listed) < 7 else [*listed[:6], "…"]
        text = self.words + (f" ({', '.join(listed)})" if listed else "") + (f": {self.note}" if self.note else "")
        sentinel = "empty" if default == "" else f"{default:g}" if self.left_open else ""
        return f"{text}; {sentinel}: {self.left_open}" if self.left_open else text

    def check(self, name: str, value) -> None:
        """Raise a `ValueError` unless the value is one of the choices and within the bounds."""
        if self.choices:
            check_choice(name, value, self.choices)
        if not isinstance(value, int | float):
            return
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{name}={value} must be finite.")
        at_most = LARGEST if self.at_most is None and isinstance(value, int) else self.at_most
        if self.at_least is not None and value < self.at_least:
            raise ValueError(f"{name}={shown(value)} is too small: it must be at least {self.at_least:g}.")
        if self.above is not None and value <= self.above:
            raise ValueError(f"{name}={shown(value)} is too small: it must be above {self.above:g}.")
        if at_most is not None and value > at_most:
            raise ValueError(f"{name}={shown(value)} is too large: it must be at most {at_most:g}.")
        if self.below is not None and value >= self.below:
            raise ValueError(f"{name}={shown(value)} is too large: it must be below {self.below:g}.")


def option(default, words: str, repr: bool = True, **known) -> Any:
    """A dataclass field with this default and `Option(words, **known)` as its metadata."""
    return field(default=default, repr=repr, metadata={"option": Option(words, **known)})


def option_of(declared: Field) -> Option:
    """What `option` declared of a field."""
    return declared.metadata["option"]


def typed(name: str, value, kind: type):
    """The value, if it is of type `kind`; a whole number is taken for a float. Raises: TypeError, ValueError."""
    if kind is float and type(value) is int:
        try:
            return float(value)
        except OverflowError:
            raise ValueError(f"{name}={shown(value)} is too large for a number.") from None
    if type(value) is not kind:
        hint = ""
        if kind is float and isinstance(value, str):
            hint = " YAML reads 1e-3 as text: write 0.001 or 1.0e-3."
        raise TypeError(f"{name}={shown(value)} is of type {type(value).__name__}, but must be {kind.__name__}.{hint}")
    return value


def check_choice(name: str, value: str, allowed) -> None:
    """Raise a `ValueError` that names the value, the allowed ones and the nearest, unless `value` is allowed."""
    if value not in allowed:
        raise ValueError(f"{name}={shown(value)} is not known{_nearest(value, allowed)} Allowed: {', '.join(allowed)}.")


def check_names(names, allowed) -> None:
    """Raise a `ValueError` for the first of `names` that is not a known parameter."""
    for name in names:
        if name not in allowed:
            raise ValueError(f"unknown parameter {shown(name)}{_nearest(name, allowed)} Known: {', '.join(allowed)}.")


def shown(value) -> str:
    """A value as an error quotes it: never more than a line of it."""
    try:
        text = _brief.repr(value)
    except ValueError:  # Python does not print integers of more than 4,300 digits
        return f"(an integer of {value.bit_length():,} bits)"
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} …"


LONGEST = 200  # characters
_brief = reprlib.Repr()
_brief.maxstring = _brief.maxother = LONGEST
_brief.maxlong = 40


def _nearest(value, allowed) -> str:
    near = difflib.get_close_matches(str(value)[:160], allowed, n=1)
    return f"; did you mean {near[0]!r}?" if near else "."
