"""The inspector's views for which networks are trained again: knowledge, doubtful labels, one image."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ipywidgets as w
import pandas as pd

from ..results.diagnosis import Diagnosis, Doubt, confusion, diagnose, doubtful_labels, history, over_rounds, some_rounds
from ..results.pages import html_table
from ..results.replay import RecordedRun
from . import network_figures, query_figures
from .cards import Card, cards, class_line, note
from .controls import Latest, button, control, drawn, png, say, status
from .views import View

DOUBTS = 20  # labels shown
FOLLOWED = 11  # rounds in which an image is followed, at most
SHOWN = 5  # rounds side by side, at most: the first, after a quarter, half, three quarters, and the last


class TrainedView(View):
    """A view that networks are trained for, in the background: `found` keeps what they showed, by what was asked for."""

    def __init__(self, changed: Callable[[], None]):
        super().__init__(changed)
        self.found: dict[tuple[Path, int], Any] = {}
        self.going_on = ""  # what is said while networks train, whatever is drawn meanwhile
        self.status, self.shown = status(), w.HTML()
        self.latest = Latest(self.name, self._work, lambda request, error: say(self.status, error, error=True))

    def train(self, said: str, *numbers: int) -> None:
        """Say so, and `compute` these of the chosen run."""
        self.going_on = said
        self.tell(said)
        self.latest.ask((said, self.run, numbers))

    def tell(self, text: str) -> None:
        """Say `text` in the status line, or what goes on while networks train."""
        say(self.status, self.going_on or text)

    def compute(self, run: RecordedRun, number: int) -> Any:
        """What is kept in `found`: of a round, or of an image, by its number."""
        raise NotImplementedError

    def _work(self, request):
        self.going_on, run, numbers = request
        try:
            for number in numbers:
                self.changed()  # what is found so far
                self.found[run.path, number] = self.compute(run, number)
        finally:
            self.going_on = ""
        self.changed()


class KnowledgeView(TrainedView):
    """Confusion, calibration and the map of the pool, of the chosen round's network; the first two also over the rounds."""

    title, name = "The network", "network"

    def __init__(self, changed: Callable[[], None]):
        super().__init__(changed)
        train = button("Train the network of this round again", "Some seconds with LeNet", self._ask, "primary")
        several = button("Over the rounds", f"Trains the networks of up to {SHOWN} rounds again", self._ask_several)
        self.box = w.VBox([w.HBox([train, several]), self.status, self.shown])

    def _ask(self):
        self.train(f"Training the network of round {self.number} again …", self.number)

    def _ask_several(self):
        missing = [n for n in some_rounds(self.run, SHOWN) if (self.run.path, n) not in self.found]
        if missing:
            self.train(f"Training the networks of {len(missing)} rounds again …", *missing)

    def compute(self, run, number):
        return diagnose(run, number)

    @property
    def _now(self) -> Diagnosis | None:
        return self.found.get((self.run.path, self.number))

    def _map(self):
        found = self._now
        assert found
        classes_M = self.run.problem.dataset.train_labels[found.images_M].numpy()
        return found, classes_M, self.run.class_names, self.run.rounds, self.run.strategy

    def draw(self, number):
        self.number = number
        several = self._over_rounds()
        if not (found := self._now):
            self.shown.value = several or note("Confusion matrix, reliability diagram and a map of the pool appear here.")
            return self.tell(f"The network of round {number} is not trained again yet.")
        knowledge = drawn(
            network_figures.knowledge, found, self.run.class_names, alt="Confusion matrix and reliability diagram"
        )
        self.shown.value = knowledge + drawn(network_figures.pool_map, *self._map(), alt="Map of the pool") + several
        kept = self.run.rounds[number].metrics["test_accuracy"]
        same = "as" if found.accuracy == kept else f"where {kept:.1%} stand"
        self.tell(f"Trained again: {found.accuracy:.1%} test accuracy, {same} in the ledger.")

    def _over_rounds(self) -> str:
        """The rounds side by side, those of them that are trained again; empty while there are fewer than two."""
        found = [self.found[key] for n in some_rounds(self.run, SHOWN) if (key := (self.run.path, n)) in self.found]
        return over_rounds_html(self.run, found) if len(found) > 1 else ""

    def table(self):
        if not (found := self._now):
            raise ValueError("There is nothing to save yet: train the network of this round again first.")
        counts = confusion(found.log_probs_N_C, found.true_N).tolist()
        return (
            pd.DataFrame(counts, index=self.run.class_names, columns=self.run.class_names)
            .rename_axis("true class")
            .reset_index()
        )

    def figure(self):
        return png(network_figures.pool_map, *self._map())


def over_rounds_html(run: RecordedRun, found: list[Diagnosis]) -> str:
    """Confusion matrix and reliability diagram of several rounds side by side."""
    n_labels = [run.rounds[one.round].n_labels for one in found]
    figure = network_figures.knowledge_over_rounds
    return drawn(figure, found, run.class_names, n_labels, alt="Confusion matrices and reliability diagrams over the rounds")


class DoubtsView(TrainedView):
    """Labels that are likely wrong, the most doubtful first."""

    title, name = "Doubtful labels", "doubts"

    def __init__(self, changed: Callable[[], None]):
        super().__init__(changed)
        rank = button(
            "Rank the labels up to this round", "Trains four networks, none of which sees what it judges", self._ask, "primary"
        )
        self.box = w.VBox([w.HBox([rank]), self.status, self.shown])

    def _ask(self):
        self.train(f"Training four networks on the labels of round {self.number} …", self.number)

    def compute(self, run, number):
        return doubtful_labels(run, number)

    def draw(self, number):
        self.number = number
        found = self.found.get((self.run.path, number))
        self.shown.value = "" if found is None else doubts_html(self.run, found)
        self.tell("Not ranked yet." if found is None else f"{len(found)} labels up to round {number}, ranked.")

    def _found(self):
        if (found := self.found.get((self.run.path, self.number))) is None:
            raise ValueError("There is nothing to save yet: rank the labels first.")
        return found

    def table(self):
        return pd.DataFrame(self._found())

    def figure(self):
        return png(query_figures.image_cards, doubt_cards(self.run, self._found()), self.run.class_names)


def doubt_cards(run: RecordedRun, found: list[Doubt]) -> list[Card]:
    """The most doubtful labels."""
    made, names = [], run.class_names
    for d in found[:DOUBTS]:
        truth = [] if d.true == d.label else [class_line(names, d.true)]
        lines = [f"image {d.image}", f"labelled {names[d.label]}: {d.of_label:.0%}", f"rather {names[d.instead]}", *truth]
        image, noisy = run.problem.train.image(d.image), bool(run.problem.train.noisy_N[d.image])
        made.append(Card(image, lines, noisy, d.true))
    return made


def doubts_html(run: RecordedRun, found: list[Doubt]) -> str:
    """The most doubtful labels as HTML, and how many are likely wrong."""
    n, wrong = sum(d.likely_wrong for d in found), [d for d in found if d.true >= 0 and d.true != d.label]
    said = f"{n} of {len(found)} labels are likely wrong: another class is as probable as their own usually is."
    if found and not wrong and all(d.true >= 0 for d in found):
        said += " In truth none is wrong: these are hard for the networks, or the networks have seen too little."
    if wrong:
        said += f" In truth {len(wrong)} are wrong, {sum(d.likely_wrong for d in wrong)} of which are among them."
    return note(said, bold=True) + cards(doubt_cards(run, found), run.class_names)


class HistoryView(TrainedView):
    """One image: who queried it and when, and what the networks took it for."""

    title, name = "One image", "image"

    def __init__(self, changed: Callable[[], None]):
        super().__init__(changed)
        self.image = control(w.IntText, "image", "The number of a training image, as on the cards", width="250px", value=0)
        follow = button("Follow it through the rounds", f"Trains the networks of up to {FOLLOWED} rounds again", self._ask)
        self.box = w.VBox([w.HBox([self.image, follow]), self.status, self.shown])
        self._on_change(self.image)

    @property
    def called(self):
        return f"{self.name}-{self.image.value}"

    def choose(self, run, peers):
        of_same_images = self.peers and self.run.header["data"]["checksum"] == run.header["data"]["checksum"]
        super().choose(run, peers)
        if not of_same_images:
            self.image.value = run.asked[0].queried[0]

    def _ask(self):
        if 0 <= self.image.value < len(self.run.problem.dataset.train_images):  # `draw` has said so otherwise
            self.train("Training the networks of the rounds again …", self.image.value)

    def compute(self, run, image):
        return over_rounds(run, image, some_rounds(run, FOLLOWED))

    def draw(self, number):
        self.number, image, n = number, self.image.value, len(self.run.problem.dataset.train_images)
        if not 0 <= image < n:
            self.shown.value = ""
            return say(self.status, f"image is {image}, but must be from 0 to {n - 1:,}.", error=True)
        train, true = self.run.problem.train, int(self.run.problem.dataset.train_labels[image])
        named = class_line(self.run.class_names, true)
        card = Card(train.image(image), [f"image {image}", named], bool(train.noisy_N[image]), true)
        asked, found = history(self.peers, image), self.found.get((self.run.path, image))
        table = asked.assign(score=asked.score.map("{:.4g}".format)).astype(str)
        html = cards([card], self.run.class_names) + (html_table(table) if len(asked) else note("No strategy has queried it."))
        if found is not None:
            own = asked[asked.strategy == self.run.config["strategy"]]
            html += drawn(network_figures.through_rounds, found, image, own, alt=f"Image {image} through the rounds")
            html += note(
                "The last network that was trained takes it for {} ({:.0%}).".format(*found.iloc[-1][["says", "confidence"]])
            )
        self.shown.value = html
        self.tell("From the ledger alone." if found is None else "Followed through the rounds.")

    def table(self):
        found = self.found.get((self.run.path, self.image.value))
        return history(self.peers, self.image.value) if found is None else found

    def figure(self):
        found, asked = self.found.get((self.run.path, self.image.value)), history([self.run], self.image.value)
        if found is None:
            raise ValueError("There is no figure yet: follow the image through the rounds first.")
        return png(network_figures.through_rounds, found, self.image.value, asked)
