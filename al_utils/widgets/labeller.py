"""`04_be_the_oracle`: the strategy asks, a person answers, the network learns."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import ipywidgets as w

from ..config import ExperimentConfig
from ..labels.transfer import export as export_labels
from ..ledger import Round
from ..person import FIRST, LABEL, SKIP, UNRECOGNISABLE, Person
from ..results.replay import suggestions
from .controls import BackgroundJob, Latest, button, control, say, status
from .desk import Desk, keys_for
from .labelling_results import results
from .session import Session

HINT = "Click here once, then press the keys shown. Each answer is saved before the next image appears."
GRID_HINT = "Choose a class, then click its images; or go through the images with Tab and press keys."
CHANGE_HINT = "What was handed in stays in the ledger and in the networks that learnt it; exported labels are the new ones."
GRACE = 5.0  # seconds in which handing in can be taken back
PAGE = 40  # images in a grid
EXPORTS = {"a table (CSV)": ".labels.csv", "tasks for Label Studio (JSON)": ".label-studio.json",
           "a folder for each class": ".labels"}  # fmt: skip
ONE, MANY = "one", "many"  # what is shown: one image, or a grid; else the number of a round whose answers are changed


class Labeller(w.VBox):
    """The desk, the buttons around it, and the results; see `Session` for the arguments and errors."""

    def __init__(
        self,
        config: ExperimentConfig,
        path: str | Path,
        classes: Sequence[str] = (),
        n_start: int = 6,
        again: Path | None = None,
        grace: float = GRACE,
    ):
        BackgroundJob.halt("oracle")
        self.job: BackgroundJob | None = None
        self._asked: Round | None = None
        self._page: list[int] = []
        self._shown = 0
        self._suggested: dict[int, tuple[str, float]] = {}
        self._make_controls()
        self.session = Session(config, path, classes, n_start, again, grace, self._show, self._tell)
        if self.session.answers_path.exists():
            self._tell(f"{self.session.said()} Start goes on from there.")
        self._show_rounds()
        self._show()

    def _make_controls(self):
        self.desk, self.status, self.results = Desk(), status(), w.HTML()
        self.start = button("▶ Start", "Train the first network and begin; goes on where you stopped", self._start, "primary")
        self.stop = button("■ Stop", "Stop here; every answer is kept", self._stop, disabled=True)
        self.compare = button("Compare with the true labels", "Train on the true labels of the same queries", self._with_truth)
        self.view = control(w.Dropdown, "show", "One image, many, or earlier answers to change",
                            options=[("one image at a time", ONE), ("many images in a grid", MANY)], width="250px")  # fmt: skip
        self.view.style.description_width = "40px"
        self.suggest = w.Checkbox(False, description="what the network thinks (it biases you)", indent=False,
                                  layout=w.Layout(width="auto"),
                                  tooltip="Trains the round's network again to show what it takes the images for")  # fmt: skip
        self.view.observe(lambda _: self._new_view(), "value")
        self.suggest.observe(lambda _: self._show(), "value")
        self.desk.on_msg(self._act)
        self._latest = Latest("suggest", self._suggest, lambda asked, error: say(self.status, error, error=True))
        above = w.HBox([self.start, self.stop, self.view, self.suggest], layout=w.Layout(flex_flow="row wrap"))
        self.form = control(w.Dropdown, "labels as", "What Export writes", width="320px", options=list(EXPORTS))
        self.form.style.description_width = "70px"
        export = button("Export", "Write the labels beside the ledger", self._export)
        below = w.HBox([self.compare, self.form, export], layout=w.Layout(flex_flow="row wrap"))
        super().__init__([above, self.status, self.desk, self.results, below])

    def _tell(self, text):
        say(self.status, text)

    # --- The session, in a thread of its own ---

    def _start(self):
        self._begin(self.session.work)
        self.desk.send({"focus": True})

    def _with_truth(self):
        if not self.session.rounds:
            return self._tell("There is nothing to compare yet: press Start.")
        if reason := self.session.incomparable:
            return self._tell(f"There is nothing to compare: {reason}.")
        self._begin(self.session.compare)

    def _export(self):
        answers = self.session.answers_path
        try:
            self._tell(export_labels(answers, answers.with_name(answers.stem + EXPORTS[self.form.value])))
        except (ValueError, RuntimeError, OSError) as error:
            say(self.status, str(error), error=True)

    def _begin(self, work):
        self.start.disabled = self.compare.disabled = True
        self.stop.disabled = False
        self.job = BackgroundJob("oracle", work, self._ended, lambda: self.session.person and self.session.person.stop())

    def _stop(self):
        self.stop.disabled = True
        self._tell("Stopping …")
        self.job.stop()

    def _ended(self, error):
        self.start.disabled = self.compare.disabled = False
        self.stop.disabled = True
        self._show_rounds()
        self._show()
        if error:
            return say(self.status, error, error=True)
        self._tell("Done." if self.session.finished else f"Stopped. {self.session.said()} Start goes on from there.")

    # --- What is shown ---

    def _show_rounds(self):
        """What depends on the rounds that are done: results, and which answers can be changed."""
        session = self.session
        done = [r.round for r in session.rounds if r.labels is not None]
        options = [("one image at a time", ONE), ("many images in a grid", MANY)]
        options += [(f"answers of round {number + 1}, to change", number) for number in done]
        if tuple(options) != self.view.options:
            kept = self.view.value
            self.view.options = options
            self.view.value = kept if kept in (ONE, MANY, *done) else ONE
        if session.problem:
            person = session.person
            asked = [person.round] if person and person.round and not session.again else []  # trained, not yet labelled
            final = session.finished or bool(session.truth)
            steps = person.steps if person else []
            rounds = session.rounds + asked
            self.results.value = results(rounds, session.truth, steps, session.class_names, "the person", final)

    def _new_view(self):
        self._page = []
        self._show()

    def _show(self):
        person, asked = self.session.person, self.session.person.round if self.session.person else None
        classes = self.session.classes
        self._shown += 1  # the desk waits for a new state after each key
        state = dict(shown=self._shown, classes=classes, keys=keys_for(classes), image=None, uri="", suggestion="", hint=HINT,
                     grid=False, marks={}, can_undo=False, undo="undo", can_submit=False, submit="hand in")  # fmt: skip
        if self._changing():
            state |= self._earlier(self._changing())
        elif asked:
            state |= self._asking(person, asked)
        elif self.session.finished:
            state["text"] = "All batches are labelled. Thank you."
        elif self.job and not self.job.over:
            state["text"] = "The network is learning …"
        else:
            state["text"] = "Press Start: the first image appears after the first training."
        if not state["grid"]:
            self._show_tiles([], False)
        self.desk.state = state
        if asked is not self._asked:
            self._asked, self._page = asked, []
            self._tell("Your turn." if asked else "The network is learning …")
            self._show_rounds()

    def _changing(self) -> Round | None:
        """The earlier round whose answers are shown to be changed, if one is."""
        return next((r for r in self.session.rounds if r.round == self.view.value), None)

    def _asking(self, person: Person, asked: Round) -> dict:
        """What the desk shows while a batch waits for answers."""
        known, n, first = person.known(), len(asked.queried), asked.round == FIRST
        pending = [image for image in asked.queried if image not in known]
        if person.handed_in:
            text = "Handed in. The network starts to learn in a few seconds."
            return dict(text=text, can_undo=True, undo="take it back", can_submit=True, submit="start at once")
        text = f"Round {asked.round + 1}: image {len(known) + 1} of {n}. What is it?"
        if first:
            counts, least = Counter(answer.label for answer in known.values()), self.session.n_start
            have = ", ".join(f"{name} {counts[name]}" for name in self.session.names)
            text = f"First labels, {least} of each class are needed. So far: {have}."
            text += " That is enough: hand in, or go on." if person.ready() else ""
        elif not pending:
            text = f"All {n} are answered: hand in, or undo."
        if lost := person.passed_over():
            text += f" ({lost} kept answers are of images that are no more, or have changed.)"
        given = list(person.answers(asked.round).values())
        state = dict(text=text, can_undo=bool(given), can_submit=person.ready())
        if given:
            state["hint"] = f"Last answer: {given[-1].label or given[-1].kind}. {HINT}"
        thoughts = self._thoughts(asked)
        if self.view.value == MANY:
            if not set(self._page) & set(pending):  # all of a page are answered: the next
                self._page = (pending or list(known))[:PAGE]
            marks = {image: f"{thoughts[image][0]}?" for image in self._page if image in thoughts}
            marks |= {image: known[image].label or known[image].kind for image in self._page if image in known}
            self._show_tiles(self._page, first)
            state |= dict(grid=True, marks={str(image): mark for image, mark in marks.items()}, hint=GRID_HINT)
            if pending and not first:
                state["text"] = f"Round {asked.round + 1}: {len(known)} of {n} are answered."
        elif pending:
            state |= dict(image=pending[0], uri=self.session.uri(pending[0], first))
            if pending[0] in thoughts:
                state["suggestion"] = "The network takes it for {} ({:.0%}).".format(*thoughts[pending[0]])
        return state

    def _earlier(self, round: Round) -> dict:
        """Answers of an earlier round, in a grid, to be changed."""
        answers = self.session.answers_of(round)
        self._show_tiles(list(answers), False)
        text = f"Your {len(answers)} answers of round {round.round + 1}: choose a class, then the images to change."
        marks = {str(image): answer.label or answer.kind for image, answer in answers.items()}
        return dict(text=text, grid=True, marks=marks, hint=CHANGE_HINT)

    def _show_tiles(self, images, first):
        tiles = [{"image": image, "uri": self.session.uri(image, first)} for image in images]
        if tiles != self.desk.tiles:
            self.desk.tiles = tiles

    # --- What the network thinks ---

    def _thoughts(self, asked: Round) -> dict[int, tuple[str, float]]:
        """What the round's network takes its images for and how surely, once that is known; asks where it is wanted."""
        if not self.suggest.value or asked.round == FIRST or self.session.again:
            return {}
        if not set(asked.queried) <= set(self._suggested):
            self._latest.ask(asked)
            return {}
        return self._suggested

    def _suggest(self, asked):
        if set(asked.queried) <= set(self._suggested):  # asked for twice while it was trained
            return
        names, found = self.session.class_names, suggestions(self.session.open(), self.session.rounds, asked)
        best = [max(range(len(names)), key=one.mean.__getitem__) for one in found]
        self._suggested = {image: (names[c], one.mean[c]) for image, c, one in zip(asked.queried, best, found)}
        self._show()

    # --- What the person does ---

    def _act(self, _, message, buffers):
        """A message from the desk; what cannot be meant for the present state is passed over."""
        person, kind, label = self.session.person, message.get("kind"), message.get("label", "")
        known_answer = label in self.session.classes if kind == LABEL else kind in (SKIP, UNRECOGNISABLE) and not label
        if person and message.get("undo"):
            person.undo()
        elif person and message.get("submit"):
            person.submit()
        elif person and known_answer:
            self._answer(person, message.get("image"), kind, label, float(message.get("seconds") or 0.0))
        else:
            self._show()

    def _answer(self, person, image, kind, label, seconds):
        changing, grid = self._changing(), self.view.value != ONE
        round = changing or person.round
        old = self.session.answers_of(round).get(image) if round and grid else None
        if old and (old.kind, old.label) == (kind, label):
            self._show()  # pressed twice
        elif old and (changing or not person.handed_in):
            person.relabel(old, kind, label)
        else:
            person.give(image, kind, label, seconds, any_pending=grid)
