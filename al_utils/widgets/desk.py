"""`04_be_the_oracle`: the strategy asks, a person answers, the network learns."""

import statistics
from collections import Counter
from pathlib import Path

import anywidget
import ipywidgets as w
import pandas as pd
import traitlets

from ..config import ExperimentConfig
from ..experiment import prepare, run_experiment
from ..ledger import Round, read_ledger
from ..oracle import SKIP, UNRECOGNISABLE, Person
from ..results.pages import html_table
from ..results.replay import with_true_labels
from . import query_figures
from .cards import data_uri, note, png_pixels
from .controls import Job, button, drawn, say, status
from .unlabelled import Unlabelled, lay_out

HERE = Path(__file__).parent
HINT = ("Click here once, then press the keys shown. Each answer is saved before the next image appears; "
        "a batch that is handed in stays.")  # fmt: skip


def keys_for(classes: list[str]) -> list[str]:
    """A key for each class: its name if all are one character, else its first letter, else digits and letters."""
    for keys in (list(classes), [name[:1] for name in classes]):
        if all(len(key) == 1 and key.isalnum() for key in keys) and len({key.lower() for key in keys}) == len(classes):
            return [key.lower() for key in keys]
    some = "1234567890abcdefghijklmnopqrstuvwxyz"
    return [some[c] if c < len(some) else "" for c in range(len(classes))]


class Desk(anywidget.AnyWidget):
    """Shows an image with a button and a key for each class; `state` says what, messages say what was answered."""

    _esm, _css = HERE / "desk.js", HERE / "desk.css"
    state = traitlets.Dict().tag(sync=True)


def summary(rounds: list[Round], truth: list[Round], steps: list[dict], classes: list[str]) -> pd.DataFrame:
    """How well and how fast the images were labelled, and what the errors cost; one row per topic."""
    pairs = [(c, a) for r in rounds if r.labels is not None for c, a in zip(r.true_classes, r.labels)]
    given = [(c, a) for c, a in pairs if a is not None]
    wrong = Counter((c, a) for c, a in given if c >= 0 and c != a)
    n_known = sum(c >= 0 for c, _ in given)
    rows = {"Labels": f"{len(given)} of {len(pairs)} queried images; {len(pairs) - len(given)} without a label"}
    if n_known:
        n = sum(wrong.values())
        rows["Error rate"] = f"{n / n_known:.1%} ({n} of {n_known} labels differ from the true class)"
        often = [f"{classes[c]} taken for {classes[a]} ({n}×)" for (c, a), n in wrong.most_common(5)]
        rows["Confusions"] = ", ".join(often) or "none"
    elif given:
        rows["Error rate"] = "the true classes of these images are not known, so nothing can be said of errors"
    seconds = [step["seconds"] for step in steps if step["answer"] is not None]
    if seconds:
        rows["Seconds per label"] = f"{statistics.median(seconds):.1f} (median of {len(seconds)} answers)"
    if truth and rounds and len(truth) == len(rounds) and (n_known or not given):
        ours, theirs = (100 * line[-1].metrics["test_accuracy"] for line in (rounds, truth))
        rows["Final test accuracy"] = f"{ours:.1f}% with these labels, {theirs:.1f}% with the true ones"
        rows["What the errors cost"] = f"{theirs - ours:+.1f} points, in one run: a few points are chance"
    elif rounds:
        rows["Test accuracy"] = f"{100 * rounds[-1].metrics['test_accuracy']:.1f}% after {rounds[-1].n_labels} labels"
    return pd.DataFrame({"": rows})


def results(rounds: list[Round], truth: list[Round], steps: list[dict], classes: list[str], who: str) -> str:
    """The curve and the summary, as HTML."""
    if not rounds:
        return note("The learning curve appears here after the first training.")
    figure = drawn(query_figures.against_truth, rounds, truth, who, alt="Test accuracy against the number of queries")
    return figure + html_table(summary(rounds, truth, steps, classes))


class Labeller(w.VBox):
    """The desk, the buttons around it, and the results.

    Args:
        config: what to run; with `classes`, its data set is a folder of images without labels.
        path: the ledger; answers go beside it, with the ending .answers.
        classes: names of the classes of unlabelled images; empty: the data set has its own.
        n_start: labels of each class that unlabelled images need before the first training.
    """

    def __init__(self, config: ExperimentConfig, path: str | Path, classes: list[str] = (), n_start: int = 6):
        Job.halt("oracle")
        if n_start < 3:
            raise ValueError(f"n_start={n_start} must be at least 3: one image of each class to train, validate and test with.")
        self.config, self.path, self.n_start = config, Path(path), n_start
        self.names = sorted(classes)  # as the folder's classes will be read again
        self.problem = None if self.names else prepare(config)
        self.rounds, self.truth, self.person, self.job, self._asked, self._shown = [], [], None, None, None, 0
        self.desk, self.status, self.results = Desk(), status(), w.HTML()
        self.start = button("▶ Start", "Train the first network and begin; goes on where you stopped", self._start, "primary")
        self.stop = button("■ Stop", "Stop here; every answer is kept", self._stop, disabled=True)
        self.compare = button("Compare with the true labels", "Train on the true labels of the same queries", self._cost)
        self.desk.on_msg(self._act)
        super().__init__([w.HBox([self.start, self.stop, self.compare]), self.status, self.desk, self.results])
        self._show_desk()
        if self.path.exists():
            self.rounds = read_ledger(self.path)[1]
            self.person = Person(self._answers())
            say(self.status, f"{self._said()} Start goes on from there.")
        self._show_results()

    def _answers(self, ending=".answers"):
        return self.path.with_suffix(ending)

    def _said(self):
        if not self.person:
            return "Nothing is lost."
        n = sum(len(r.labels or []) for r in self.rounds)
        done = {r.round for r in self.rounds}
        more = sum(len(self.person.answers(k)) for k in {s["round"] for s in self.person.steps} - done)
        return f"{n} answers are handed in, {more} more are saved."

    # --- The experiment, in a thread of its own ---

    def _start(self):
        self.start.disabled = self.compare.disabled = True
        self.stop.disabled = False
        self.desk.send({"focus": True})
        self.job = Job("oracle", self._work, self._ended, lambda: self.person and self.person.stop())

    def _stop(self):
        self.stop.disabled = True
        say(self.status, "Stopping …")
        self.job.stop()

    def _work(self, stopped):
        config = self._first_labels(stopped) if self.names else self.config
        self.problem = self.problem or prepare(config)
        self.person = Person(self._answers(), self._show_desk)
        if stopped.is_set():
            return
        self.rounds = []
        say(self.status, "Training the network …")
        for round in run_experiment(config, self.path, self.person):
            self.rounds.append(round)
        say(self.status, "All rounds are done. Comparing with the true labels …")
        self._twin(stopped)

    def _first_labels(self, stopped) -> ExperimentConfig:
        """Ask for labels of random images, until each class has enough to train, validate and test with."""
        folder = self.path.with_suffix(".images")
        n_train = (2 * self.n_start + 2) // 3
        if not folder.exists():
            C = len(self.names)
            self._images = Unlabelled(self.config.dataset, self.names, self.config.seed, C * self.n_start + self.config.n_query)

            def enough(answers):
                given = Counter(step["answer"] for step in answers.values())
                return all(given[c] >= self.n_start for c in range(C))

            self.person = Person(self._answers(".first-answers"), self._show_desk, enough)
            if stopped.is_set():
                self.person.stop()
            numbers = list(range(len(self._images.files)))
            self.person.answer(Round(0, 0, {}, queried=numbers), self.config.seed)
            answers = {number: step["answer"] for number, step in self.person.answers(0).items()}
            lay_out(self._images, answers, n_train, folder)
        n_valid = max(1, n_train // 3) * len(self.names)
        sizes = dict(dataset=f"folder:{folder.resolve()}", n_valid=n_valid, n_initial=n_train * len(self.names) - n_valid)
        return ExperimentConfig.from_dict(self.config.to_dict() | sizes)

    def _ended(self, error):
        self.start.disabled = self.compare.disabled = False
        self.stop.disabled = True
        self._show_desk()
        if error:
            return say(self.status, error, error=True)
        done = self.rounds and len(self.rounds) == self.config.n_rounds + 1
        say(self.status, "Done." if done else f"Stopped. {self._said()} Start goes on from there.")

    def _cost(self):
        if not self.rounds:
            return say(self.status, "There is nothing to compare yet: press Start.")
        self.start.disabled = self.compare.disabled = True
        self.stop.disabled = False
        say(self.status, "Training on the true labels of the same queries …")
        self.job = Job("oracle", self._twin, self._ended)

    def _twin(self, stopped):
        self.problem = self.problem or prepare(ExperimentConfig.from_dict(read_ledger(self.path)[0]["config"]))
        self.truth = []
        if any(c < 0 for r in self.rounds for c in r.true_classes):
            return self._show_results()  # the true classes are not known
        for round in with_true_labels(self.problem, self.rounds):
            if stopped.is_set():
                return
            self.truth.append(round)
        self._show_results()

    # --- What the person sees and does ---

    def _show_results(self):
        steps = self.person.steps if self.person else []
        asked = [self.person.round] if self.person and self.person.round and self.problem else []  # trained, not yet labelled
        self.results.value = results(self.rounds + asked, self.truth, steps, self._classes(), "the person")

    def _begin(self):
        """A round begins: its network is trained, its images wait."""
        say(self.status, "Your turn.")
        self._show_results()

    def _classes(self):
        return self.names or self.problem.dataset.class_names

    def _show_desk(self):
        person, classes = self.person, self._classes()
        asked = person.round if person else None
        pending = person.pending() if asked else []
        first_labels = asked and not asked.true_classes
        self._shown += 1  # the desk waits for a new state after each key
        state = dict(shown=self._shown, classes=classes, keys=keys_for(classes), image=None, uri="", hint=HINT)
        state |= dict(can_undo=False, can_submit=False, submit="hand in")
        state["text"] = "Press Start: the first image appears after the first training."
        if len(self.rounds) > self.config.n_rounds:
            state["text"] = "All batches are labelled. Thank you."
        if asked:
            answered = person.answers(asked.round)
            state |= dict(can_undo=bool(answered), can_submit=person.ready())
            n = len(asked.queried)
            state["text"] = f"Round {asked.round + 1}: image {len(answered) + 1} of {n}. What is it?"
            if first_labels:
                counts = Counter(step["answer"] for step in answered.values())
                have = ", ".join(f"{name} {counts[c]}" for c, name in enumerate(classes))
                state["text"] = f"First labels, {self.n_start} of each class are needed. So far: {have}."
                state["text"] += " That is enough: hand in, or go on." if person.ready() else ""
            if pending:
                state |= dict(image=pending[0], uri=self._uri(pending[0], first_labels))
            else:
                state["text"] = f"All {n} are answered: hand in, or undo."
            if answered:
                last = list(answered.values())[-1]["answer"]
                name = classes[last] if isinstance(last, int) else last
                state["hint"] = f"Last answer: {name}. {HINT}"
        elif self.job and not self.job.over:
            state["text"] = "The network is learning …"
        self.desk.state = state
        if asked is not self._asked:
            self._asked = asked
            self._begin() if asked else say(self.status, "The network is learning …")

    def _uri(self, image, first_labels):
        if first_labels:
            return self._images.uri(image)
        return data_uri(png_pixels(self.problem.train[[image]][0]))

    def _act(self, _, message, buffers):
        person, answer = self.person, message.get("answer")
        if person and message.get("undo"):
            person.undo()
        elif person and answer in (SKIP, UNRECOGNISABLE, *range(len(self._classes()))):
            person.give(message.get("image"), answer, float(message.get("seconds") or 0.0))
        else:
            if person and message.get("submit"):
                person.submit()
            self._show_desk()
