"""The form of `01_explore_strategies`: a configuration for each chosen strategy; errors in its own words."""

import re
from collections.abc import Sequence

import ipywidgets as w

from .. import acquisition, datasets, models, noise
from ..config import OPTIONS, PROTOCOLS, ExperimentConfig
from ..words import label
from .controls import control

WHOLE = {  # name -> what the form calls it, what it says when the mouse rests on it
    "n_initial": ("initial labels", "Labels before the first query"),
    "n_query": ("queries a round", "Labels bought each round"),
    "n_rounds": ("rounds", "Rounds of queries; more of them go on with the same runs"),
    "epochs": ("epochs", "Epochs of training each round"),
    "n_valid": ("validation images", "Labelled images set aside"),
    "seed": ("seed", "Of the split, the noise, the initialisation and the batches"),
}
REAL = {
    "lr": ("learning rate", "Empty: the protocol's"),
    "clip_norm": ("gradient norm", "At most; 0: any. A bound keeps training stable on few labels and large images"),
}
STEADY = {"tuned": 1.0}  # protocol -> bound on the gradient's norm that keeps few labels of large images from diverging
AT_LEAST = {"n_query": 1, "n_rounds": 1}  # beyond what a run needs: without queries there is nothing to explore


def bound(protocol: str, clip_norm: float) -> float:
    """`clip_norm` where it is given; left open (-1), what keeps the protocol's training stable, if it needs that."""
    return STEADY.get(protocol, -1.0) if clip_norm == -1 else clip_norm


class Form(w.VBox):
    """Fields for what is explored; `configs` reads them."""

    def __init__(self, config: ExperimentConfig, strategies: Sequence[str], **given):
        def choice(name, tooltip, options):
            return control(w.Dropdown, name.replace("_", " "), tooltip, value=getattr(config, name), options=options)

        self.fields = {
            "dataset": control(w.Combobox, "data set", "A known name, or folder:PATH for your own images",
                               value=config.dataset, options=datasets.NAMES, ensure_option=False),
            "model": choice("model", "The network that is trained from scratch each round",
                            [(label(name), name) for name in models.names()]),
            "noise": choice("noise", "Noise on a share of the images", [(label(name), name) for name in noise.names()]),
            "protocol": choice("protocol", "How to train: the paper's recipe, or one under which both networks learn",
                               list(PROTOCOLS)),
        }  # fmt: skip
        for name, (called, tip) in REAL.items():
            value = given.get(name, -1)
            value = bound(config.protocol, value) if name == "clip_norm" else value
            self.fields[name] = control(w.Text, called, tip, value=_text(value), placeholder="the protocol's")
        self._usual = _text(bound(config.protocol, -1.0))
        self.fields["protocol"].observe(lambda _: self._bound(), "value")
        for name, (called, tip) in WHOLE.items():
            self.fields[name] = control(w.IntText, called, tip, width="250px", value=getattr(config, name))
        self.strategies = {
            name: w.Checkbox(name in strategies, description=label(name), indent=False, layout=w.Layout(width="auto"),
                             tooltip=f"Compare {label(name)}") for name in dict.fromkeys([*acquisition.names(), *strategies])
        }  # fmt: skip
        self.others = {name: value for name, value in given.items() if name not in self.fields}  # as the notebook has them
        chosen, wrap = list(self.fields.values()), w.Layout(flex_flow="row wrap", grid_gap="16px")
        columns = [w.VBox(chosen[:4]), w.VBox(chosen[4:8]), w.VBox(chosen[8:])]
        super().__init__([
            w.HBox([w.HTML("<b>Strategies</b>"), *self.strategies.values()], layout=wrap),
            w.HBox(columns, layout=w.Layout(flex_flow="row wrap")),
        ])  # fmt: skip

    def _bound(self):
        field, usual = self.fields["clip_norm"], _text(bound(self.fields["protocol"].value, -1.0))
        if field.value == self._usual:  # nobody has chosen another
            field.value = usual
        self._usual = usual

    def enable(self, enabled: bool) -> None:
        """Let the fields be changed, or not."""
        for field in (*self.fields.values(), *self.strategies.values()):
            field.disabled = not enabled

    def configs(self) -> list[ExperimentConfig]:
        """One configuration for each chosen strategy. Raises: ValueError, in the words of the form."""
        chosen = [name for name, box in self.strategies.items() if box.value]
        if not chosen:
            raise ValueError("No strategy is chosen: tick at least one.")
        values = {name: field.value for name, field in self.fields.items()}
        for name in REAL:
            values[name] = self._number(name, values[name])
        for name, (called, _) in WHOLE.items():
            least = max(AT_LEAST.get(name, 0), OPTIONS[name].at_least or 0)
            if values[name] < least:
                raise ValueError(f"{called} is {values[name]:,}, but must be at least {least:g}.")
        try:
            return [ExperimentConfig(strategy=name, **self.others, **values) for name in chosen]
        except ValueError as error:
            raise ValueError(in_words_of_the_form(str(error))) from None

    def _number(self, name, text):
        if not text.strip():
            return -1.0
        try:
            number = float(text)
            OPTIONS[name].check(name, number)
            if number == -1:
                raise ValueError
            return number
        except ValueError:
            bound = "0 or more" if OPTIONS[name].at_least == 0 else "a number above 0"
            raise ValueError(f"{REAL[name][0]} is {text!r}, but must be {bound}, or empty for the protocol's.") from None


def _text(number: float) -> str:
    return "" if number == -1 else f"{number:.15g}"


def in_words_of_the_form(message: str) -> str:
    """An error's names of parameters as the form calls them: `n_query=0` becomes `queries a round = 0`."""
    called = {name: words for name, (words, _) in (REAL | WHOLE).items()}
    message = re.sub(rf"\b({'|'.join(called)})=", lambda found: f"{called[found[1]]} = ", message)
    return re.sub(rf"\b({'|'.join(name for name in called if '_' in name)})\b", lambda found: called[found[1]], message)
