"""The inspector's views that ledgers fill: a round's queries, who queried what, shares over the rounds."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import ipywidgets as w
import pandas as pd
from torch import Tensor

from ..results.replay import Recomputed, RecordedRun, chosen_by, queried_by, recompute, share_over_rounds, verdicts
from ..words import label
from . import query_figures
from .cards import LEGEND, Card, cards, class_line, note
from .controls import Latest, control, drawn, png, say, status
from .round_cards import ALL, PAGE, kinds, queries_table, ranks_of, round_cards, round_html

MANY = 30  # images in a gallery
ROW = w.Layout(flex_flow="row wrap", grid_gap="8px")


class View:
    """One tab: its controls and what they show of a run.

    `choose` sets the controls when the run changes, `draw` shows a round, `table` and `figure` (a PNG) are for export.
    """

    title = name = ""
    box: w.Widget

    def __init__(self, changed: Callable[[], None]):
        self.changed = changed
        self.run: RecordedRun
        self.peers: list[RecordedRun] = []
        self.number = 0

    def choose(self, run: RecordedRun, peers: list[RecordedRun]) -> None:
        """Another run, and all that had the same choice, it included."""
        self.run, self.peers = run, peers

    def draw(self, number: int) -> None:
        """Show a round."""
        raise NotImplementedError

    @property
    def called(self) -> str:
        """What of the run is shown, for the names of files."""
        return f"{self.name}-{self.number}"

    def table(self) -> pd.DataFrame:
        """What is shown, as a table."""
        raise NotImplementedError

    def figure(self) -> bytes:
        """What is shown, as a PNG."""
        raise NotImplementedError

    def clear(self) -> None:
        """Show nothing: what is there is of another run or round."""
        for widget in vars(self).values():
            if isinstance(widget, w.HTML):
                widget.value = ""

    def _on_change(self, *fields: w.Widget) -> None:
        for field in fields:
            field.observe(lambda _: self.changed(), "value")


class RoundView(View):
    """The images of a round, the best score first, beside those of another strategy."""

    title, name = "This round", "round"

    def __init__(self, changed: Callable[[], None], predict: bool):
        super().__init__(changed)
        self.found: dict[tuple[Path, int], Recomputed] = {}
        self.failed: dict[tuple[Path, int], str] = {}
        self.latest = Latest("inspect", self._recompute, lambda request, error: say(self.status, error, error=True))
        self.peer = control(w.Dropdown, "beside it", "Another strategy on the same split, noise and seed",
                            options=[("nothing", None)])  # fmt: skip
        self.which = control(w.Dropdown, "only", "Which of the queries to show", options=[ALL])
        self.predict = w.Checkbox(predict, description="predictions (trains the network of the round again)", indent=False,
                                  layout=w.Layout(width="auto"), tooltip="Recompute what the ledger does not hold")  # fmt: skip
        self.first = control(w.IntSlider, "from rank", "The first image shown, by score", width="96%", min=1, step=PAGE)
        self.status = status()
        half = dict(flex="1 1 420px", min_width="0")
        self.here, self.there = w.HTML(layout=w.Layout(**half)), w.HTML(layout=w.Layout(**half))
        both = w.HBox([self.here, self.there], layout=w.Layout(flex_flow="row wrap", grid_gap="16px"))
        above = w.HBox([self.peer, self.which, self.predict], layout=ROW)
        self.box = w.VBox([above, self.first, self.status, both, w.HTML(LEGEND)])
        self._on_change(self.peer, self.which, self.predict, self.first)

    def choose(self, run, peers):
        super().choose(run, peers)
        others, kept, which = [peer for peer in peers if peer is not run], self.peer.value, self.which.value
        self.peer.options = [("nothing", None), *((peer.strategy, peer) for peer in others)]
        first = others[0] if others else None
        self.peer.value = next((p for p in others if kept and p.strategy == kept.strategy), first)
        self.which.options = kinds(run)
        self.which.value = which if which in self.which.options else ALL

    @property
    def called(self):
        return super().called + ("" if self.which.value == ALL else f"__{self.which.value}")

    def _sides(self):
        return [run for run in (self.run, self.peer.value) if run]

    def _asked(self, run):
        return self.number < len(run.rounds) and bool(run.rounds[self.number].queried)

    def draw(self, number):
        self.number, sides = number, self._sides()
        found = [self.found.get((run.path, number)) if self.predict.value else None for run in sides]
        meant = [ranks_of(run, run.rounds[number], self.which.value, f) for run, f in zip(sides, found) if self._asked(run)]
        most = max(map(len, meant))
        self.first.max, self.first.disabled = max(1, most), most <= PAGE
        if self.first.disabled:  # all fit on one page
            self.first.value = 1
        first = self.first.value - 1
        html = [round_html(run, number, f, first, which=self.which.value) for run, f in zip(sides, found)]
        self.here.value, self.there.value = html[0], html[1] if len(html) > 1 else ""
        if not self.predict.value:
            return say(self.status, "From the ledger alone.")
        missing = [run for run, f in zip(sides, found) if f is None and self._asked(run)]
        if failed := [self.failed[run.path, number] for run in missing if (run.path, number) in self.failed]:
            say(self.status, f"Shown without predictions: {failed[0]}", error=True)
        elif missing:
            say(self.status, f"Training the network of round {number} again ({', '.join(run.strategy for run in missing)}) …")
            self.latest.ask((missing, number))
        else:
            say(self.status, "Predictions recomputed.")

    def _recompute(self, request):
        missing, number = request
        for run in missing:
            if (run.path, number) in self.found:  # asked for twice while it was trained
                continue
            try:
                self.found[run.path, number] = recompute(run, number)
            except (ValueError, RuntimeError, OSError) as error:  # its strategy is not registered here, say
                self.failed[run.path, number] = str(error)
            if number == self.number and run in self._sides():
                self.changed()

    def table(self):
        sides = [run for run in self._sides() if self._asked(run)]
        tables = [queries_table(run, self.number, self.found.get((run.path, self.number)), self.which.value) for run in sides]
        return pd.concat(tables, ignore_index=True)

    def figure(self):
        shown, first = [], self.first.value - 1
        for run in (run for run in self._sides() if self._asked(run)):
            round, found = run.rounds[self.number], self.found.get((run.path, self.number))
            ranks = ranks_of(run, round, self.which.value, found)[first : first + PAGE]
            page = round_cards(run, round, ranks, found)
            shown += [replace(card, lines=[run.strategy, *card.lines]) for card in page]
        return png(query_figures.image_cards, shown, self.run.class_names, PAGE)


def who_html(runs: list[RecordedRun], number: int, who: str) -> str:
    """The images that all strategies queried up to a round, several, or only one (see `replay.chosen_by`)."""
    table = queried_by(runs, number)
    chosen = chosen_by(table, who)
    whom = {"all": "all strategies", "several": "more than one strategy"}.get(who, f"only {label(who)}")
    head = note(f"Queried by {whom} up to round {number}: {len(chosen)} of {len(table)} images", bold=True)
    problem, shown = runs[0].problem, []
    for image in chosen[:MANY]:
        true = int(problem.dataset.train_labels[image])
        when = [f"{label(str(name))}: round {r:.0f}" for name, r in table.loc[image].dropna().items()]
        lines = [f"image {image}, {class_line(runs[0].class_names, true)}", *when]
        shown.append(Card(problem.train.image(image), lines, bool(problem.train.noisy_N[image]), true))
    rest = note(f"{len(chosen) - MANY} more are in the CSV file.") if len(chosen) > MANY else ""
    return head + cards(shown, runs[0].class_names, none="none") + rest


class WhoView(View):
    """Images that all strategies, several or only one have queried up to a round."""

    title, name = "Who queried what", "who"

    def __init__(self, changed: Callable[[], None]):
        super().__init__(changed)
        self.who = control(w.Dropdown, "queried by", "Which images to show", options=["all"])
        self.gallery = w.HTML()
        self.box = w.VBox([self.who, self.gallery])
        self._on_change(self.who)

    def choose(self, run, peers):
        super().choose(run, peers)
        names, kept = [peer.config["strategy"] for peer in peers], self.who.value
        groups = [("all strategies", "all"), ("more than one", "several")]
        self.who.options = [*groups, *((f"only {label(name)}", name) for name in names)]
        self.who.value = kept if kept in ("several", *names) else "all"

    @property
    def called(self):
        return f"{super().called}__by-{self.who.value}"

    def draw(self, number):
        self.number = number
        self.gallery.value = who_html(self.peers, number, self.who.value)

    def table(self):
        table = queried_by(self.peers, self.number)
        chosen = table.loc[chosen_by(table, self.who.value)].rename_axis("image").add_prefix("round, ")
        images, problem = chosen.index.to_list(), self.run.problem
        known = {"class": problem.dataset.train_labels[images].tolist(), "noisy": problem.train.noisy_N[images].tolist()}
        return pd.DataFrame(known, index=chosen.index).join(chosen).reset_index()

    def figure(self):
        names, table = self.run.class_names, self.table()[:MANY]
        train = self.run.problem.train
        shown = [
            Card(train.image(i), [f"image {i}", class_line(names, c)], noisy)
            for i, c, noisy in zip(table["image"], table["class"], table["noisy"])
        ]
        return png(query_figures.image_cards, shown, names)


def flags(run: RecordedRun, what: str) -> Tensor:
    """Which training images are meant: those with noise, or those of a class named `class NAME`."""
    if what == "noisy images":
        return run.problem.train.noisy_N.cpu()
    return run.problem.dataset.train_labels == run.class_names.index(what.removeprefix("class "))


def unknown(runs: list[RecordedRun], what: str) -> bool:
    """Whether what is asked for is a class and those of the images are not known."""
    return what != "noisy images" and any(c < 0 for run in runs for r in run.rounds for c in r.true_classes)


def shares_html(runs: list[RecordedRun], what: str) -> str:
    """`query_figures.shares` and what it says, in sentences."""
    if unknown(runs, what):
        return note("Of which class the images are is not known here, so neither is its share.")
    table = share_over_rounds(runs, flags(runs[0], what))
    said = "".join(note(line) for line in verdicts(table, "carry noise" if what == "noisy images" else f"are of {what}"))
    return drawn(query_figures.shares, table, what, alt=f"Share of {what} over the rounds") + said


class SharesView(View):
    """The share of noisy images, or of a class, among the queries so far."""

    title, name = "Over all rounds", "shares"

    def __init__(self, changed: Callable[[], None]):
        super().__init__(changed)
        self.what = control(w.Dropdown, "share of", "What to follow over the rounds", options=["noisy images"])
        self.curve = w.HTML()
        self.box = w.VBox([self.what, self.curve])
        self._on_change(self.what)

    def choose(self, run, peers):
        super().choose(run, peers)
        noise, kept = ["noisy images"] if run.tells_noisy else [], self.what.value
        self.what.options = [*noise, *(f"class {name}" for name in run.class_names)]
        self.what.value = kept if kept in self.what.options else self.what.options[0]

    @property
    def called(self):
        return f"{self.name}__{self.what.value}"  # over all rounds

    def draw(self, number):
        self.number = number
        self.curve.value = shares_html(self.peers, self.what.value)

    def table(self):
        if unknown(self.peers, self.what.value):
            raise ValueError("Of which class the images are is not known here, so there is nothing to save.")
        return share_over_rounds(self.peers, flags(self.run, self.what.value))

    def figure(self):
        return png(query_figures.shares, self.table(), self.what.value)
