"""`03_inspect_queries`: what a strategy asked for, round by round, and what its network thought of it."""

import threading
from pathlib import Path

import ipywidgets as w
import pandas as pd

from ..ledger import Round
from ..results.replay import Recomputed, RecordedRun, chosen_by, queried_by, recompute, share_over_rounds, verdicts
from . import query_figures
from .cards import LEGEND, Card, cards, note
from .controls import Latest, button, control, drawn, png, say, status

PAGE = 10  # images shown at once
MANY = 30  # images in a gallery


def round_cards(run: RecordedRun, round: Round, found: Recomputed | None = None, first: int = 0) -> list[Card]:
    """A page of a round's queries, from rank `first` on."""
    made = []
    for rank in range(first, min(first + PAGE, len(round.queried))):
        image, true = round.queried[rank], round.true_classes[rank]
        lines = [f"#{rank + 1}, image {image}", f"class {run.class_names[true]}" if true >= 0 else "class unknown"]
        if round.labels and round.labels[rank] != true:
            given = round.labels[rank]
            lines.append("no label given" if given is None else f"labelled {run.class_names[given]}")
        lines.append(f"score {round.scores[rank]:.3f}")
        prediction = found.predictions[rank] if found else None
        made.append(Card(run.problem.train[[image]][0], lines, round.noisy[rank], true, prediction))
    return made


def round_html(run: RecordedRun, number: int, found: Recomputed | None = None, first: int = 0, size: int = 84) -> str:
    """The queries of a round as HTML: with the network's predictions where they are recomputed."""
    if number >= len(run.rounds) or not run.rounds[number].queried:
        return note(f"{run.strategy}: no queries in round {number}", bold=True)
    round = run.rounds[number]
    n, noisy = len(round.queried), sum(round.noisy)
    head = f"{run.strategy}, round {number}: {n} queries after {round.n_labels:,} labels, {noisy} noisy"
    head += f"; test accuracy {round.metrics['test_accuracy']:.1%}"
    shown = round_cards(run, round, found, first)
    return note(head, bold=True) + cards(shown, run.class_names, size) + (note(f"{found}.") if found else "")


def who_html(runs: list[RecordedRun], number: int, who: str) -> str:
    """The images that all strategies queried up to a round, several, or only one (see `queries.chosen_by`)."""
    table = queried_by(runs, number)
    chosen = chosen_by(table, who)
    whom = {"all": "all strategies", "several": "more than one strategy"}.get(who, f"only {who}")
    head = note(f"Queried by {whom} up to round {number}: {len(chosen)} of {len(table)} images", bold=True)
    problem, shown = runs[0].problem, []
    for image in chosen[:MANY]:
        true = int(problem.dataset.train_labels[image])
        when = [f"{name}: round {r:.0f}" for name, r in table.loc[image].dropna().items()]
        lines = [f"image {image}, " + (f"class {runs[0].class_names[true]}" if true >= 0 else "class unknown"), *when]
        shown.append(Card(problem.train[[image]][0], lines, bool(problem.train.noisy_N[image]), true))
    rest = note(f"{len(chosen) - MANY} more are in the CSV file.") if len(chosen) > MANY else ""
    return head + cards(shown, runs[0].class_names, none="none") + rest


def flags(run: RecordedRun, what: str):
    """Which training images are meant: those with noise, or those of a class named `class NAME`."""
    if what == "noisy images":
        return run.problem.train.noisy_N.cpu()
    return run.problem.dataset.train_labels == run.class_names.index(what.removeprefix("class "))


def shares_html(runs: list[RecordedRun], what: str) -> str:
    """`plots_queries.shares` and what it says, in sentences."""
    table = share_over_rounds(runs, flags(runs[0], what))
    said = "".join(note(line) for line in verdicts(table, "carry noise" if what == "noisy images" else f"are of {what}"))
    return drawn(query_figures.shares, table, what, alt=f"Share of {what} over the rounds") + said


class Inspector(w.VBox):
    """Sliders for run and round; three views of the queries; CSV and PNG files of what is shown."""

    def __init__(self, runs: list[RecordedRun], exports: str | Path, recompute: bool = True):
        self.runs, self.exports = runs, Path(exports)
        self._found, self._lock = {}, threading.RLock()
        self._latest = Latest("inspect", self._recompute, self._failed)
        wide = dict(width="96%")
        self.run = control(
            w.SelectionSlider,
            "run",
            "A ledger: arrow keys or mouse",
            options=[(r.title, r) for r in runs],
            readout=False,
            **wide,
        )
        self.round = control(w.IntSlider, "round", "A round of this run", max=len(runs[0].asked) - 1, **wide)
        self.first = control(w.IntSlider, "from rank", "The first image shown, by score", min=1, step=PAGE, **wide)
        self.peer = control(
            w.Dropdown, "beside it", "Another strategy on the same split, noise and seed", options=[("nothing", None)]
        )
        self.predict = w.Checkbox(recompute, description="predictions (trains the network of the round again)", indent=False,
                                  layout=w.Layout(width="auto"), tooltip="Recompute what the ledger does not hold")  # fmt: skip
        self.who = control(w.Dropdown, "queried by", "Which images to show", options=["all"])
        self.what = control(w.Dropdown, "share of", "What to follow over the rounds", options=["noisy images"])
        self.status, self.exported, self.title = status(), w.HTML(), w.HTML(layout=w.Layout(margin="0 0 0 158px"))
        self.here, self.there = (w.HTML(layout=w.Layout(flex="1 1 420px", min_width="0")) for _ in "12")
        self.gallery, self.curve = w.HTML(), w.HTML()
        both = w.HBox([self.here, self.there], layout=w.Layout(flex_flow="row wrap", grid_gap="16px"))
        above = w.HBox([self.peer, self.predict], layout=w.Layout(flex_flow="row wrap"))
        self.views = w.Tab([
            w.VBox([above, self.status, both, w.HTML(LEGEND)]),
            w.VBox([self.who, self.gallery]), w.VBox([self.what, self.curve]),
        ], titles=["This round", "Who queried what", "Over all rounds"])  # fmt: skip
        save = button("Save CSV and PNG", "Write what is shown into two files", self._save)
        super().__init__([self.run, self.title, self.round, self.first, self.views, w.HBox([save, self.exported])])
        self.run.observe(lambda _: self._new_run(), "value")
        for field in (self.round, self.first, self.peer, self.predict, self.who, self.what):
            field.observe(lambda _: self._draw(), "value")
        self.views.observe(lambda _: self._draw(), "selected_index")
        self._quiet = False
        self._new_run()

    def _new_run(self):
        run, self._quiet = self.run.value, True
        self.title.value = note(f"Run {self.runs.index(run) + 1} of {len(self.runs)}: {run.title}", bold=True)
        peers = [peer for peer in run.peers(self.runs) if peer is not run]
        kept_who, kept_what, kept_peer = self.who.value, self.what.value, self.peer.value
        self.round.max = run.asked[-1].round
        self.peer.options = [("nothing", None), *((peer.strategy, peer) for peer in peers)]
        self.peer.value = next(
            (p for p in peers if kept_peer and p.strategy == kept_peer.strategy), peers[0] if peers else None
        )
        names = [peer.strategy for peer in self._compared()]
        groups = [("all strategies", "all"), ("more than one", "several")]
        self.who.options = [*groups, *((f"only {name}", name) for name in names)]
        self.who.value = kept_who if kept_who in ("several", *names) else "all"
        noise = ["noisy images"] if run.config["noise"] != "none" else []
        self.what.options = [*noise, *(f"class {name}" for name in run.class_names)]
        self.what.value = kept_what if kept_what in self.what.options else self.what.options[0]
        self._quiet = False
        self._draw()

    def _compared(self):
        return self.run.value.peers(self.runs)

    def _draw(self):
        if self._quiet:
            return
        try:
            with self._lock:  # the thread that recomputes draws too
                [self._draw_round, self._draw_who, self._draw_shares][self.views.selected_index or 0]()
        except (ValueError, RuntimeError, OSError) as error:  # the data are not here, or have changed
            say(self.status, str(error), error=True)

    def _draw_who(self):
        self.gallery.value = who_html(self._compared(), self.round.value, self.who.value)

    def _draw_shares(self):
        self.curve.value = shares_html(self._compared(), self.what.value)

    def _sides(self):
        return [run for run in (self.run.value, self.peer.value) if run]

    def _draw_round(self):
        number, n = self.round.value, len(self.run.value.rounds[self.round.value].queried)
        found = [self._found.get((run.path, number)) for run in self._sides()]
        self._quiet = True
        self.first.max, self.first.disabled = max(1, n), n <= PAGE
        self._quiet = False
        wants = self.predict.value
        html = [round_html(run, number, f if wants else None, self.first.value - 1) for run, f in zip(self._sides(), found)]
        self.here.value, self.there.value = (*html, "")[:2]
        missing = [run for run, f in zip(self._sides(), found) if f is None and self._asked(run, number)] if wants else []
        if missing:
            say(self.status, f"Training the network of round {number} again ({', '.join(run.strategy for run in missing)}) …")
            self._latest.ask((missing, number))
        else:
            say(self.status, "Predictions recomputed." if wants else "From the ledger alone.")

    def _asked(self, run, number):
        return number < len(run.rounds) and bool(run.rounds[number].queried)

    def _recompute(self, request):
        missing, number = request
        for run in missing:
            found = recompute(run, number)
            self._found[run.path, number] = found
            if number == self.round.value and run in self._sides():
                self._draw()

    def _failed(self, request, error):
        say(self.status, error, error=True)

    # --- Export ---

    def selection(self) -> pd.DataFrame:
        """What the present view shows, as a table."""
        view, number = self.views.selected_index or 0, self.round.value
        if view == 1:
            table = queried_by(self._compared(), number)
            chosen = table.loc[chosen_by(table, self.who.value)].rename_axis("image").add_prefix("round, ")
            problem = self.run.value.problem
            known = {"class": problem.dataset.train_labels[chosen.index.to_list()].tolist(),
                     "noisy": problem.train.noisy_N[chosen.index.to_list()].tolist()}  # fmt: skip
            return pd.DataFrame(known, index=chosen.index).join(chosen).reset_index()
        if view == 2:
            return share_over_rounds(self._compared(), flags(self.run.value, self.what.value))
        sides = [run for run in self._sides() if self._asked(run, number)]
        return pd.concat([queries_table(run, number, self._found.get((run.path, number))) for run in sides], ignore_index=True)

    def figure(self) -> bytes:
        """What the present view shows, as a PNG."""
        view, number, classes = self.views.selected_index or 0, self.round.value, self.run.value.class_names
        if view == 2:
            return png(query_figures.shares, self.selection(), self.what.value)
        if view == 1:
            problem = self.run.value.problem
            table = self.selection()[:MANY]
            shown = [Card(problem.train[[i]][0], [f"image {i}", f"class {classes[c]}" if c >= 0 else "class unknown"], noisy)
                     for i, c, noisy in zip(table["image"], table["class"], table["noisy"])]  # fmt: skip
            return png(query_figures.image_cards, shown, classes)
        shown = []
        for run in (run for run in self._sides() if self._asked(run, number)):
            page = round_cards(run, run.rounds[number], self._found.get((run.path, number)), self.first.value - 1)
            shown += [Card(c.image, [run.strategy, *c.lines], c.noisy, c.true_class, c.prediction) for c in page]
        return png(query_figures.image_cards, shown, classes, min(PAGE, len(self.run.value.rounds[number].queried)))

    def _save(self):
        view = ["round", "who", "shares"][self.views.selected_index or 0]
        name = f"{self.run.value.path.stem}__{view}-{self.round.value}"
        try:
            self.exports.mkdir(parents=True, exist_ok=True)
            self.selection().to_csv(self.exports / f"{name}.csv", index=False)
            (self.exports / f"{name}.png").write_bytes(self.figure())
        except (OSError, ValueError) as error:
            return say(self.exported, str(error), error=True)
        say(self.exported, f"Saved {name}.csv and .png in {'/'.join(self.exports.parts[-3:])}")


def queries_table(run: RecordedRun, number: int, found: Recomputed | None) -> pd.DataFrame:
    """The queries of a round, one row each, with the predictions where they are recomputed."""
    r = run.rounds[number]
    table = pd.DataFrame({
        "run": run.path.stem, "strategy": run.config["strategy"], "round": number, "rank": range(1, len(r.queried) + 1),
        "image": r.queried, "class": r.true_classes, "label": r.true_classes if r.labels is None else r.labels,
        "score": r.scores, "noisy": r.noisy,
    })  # fmt: skip
    if found is None:
        return table
    entropies = {part: [getattr(p, part) for p in found.predictions] for part in ("total", "aleatoric", "epistemic")}
    means = {f"mean {name}": [p.mean[c] for p in found.predictions] for c, name in enumerate(run.class_names)}
    spreads = {f"spread {name}": [p.spread[c] for p in found.predictions] for c, name in enumerate(run.class_names)}
    return table.assign(**(entropies | means | spreads))
