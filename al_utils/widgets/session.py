"""A labelling session: the experiment that waits for a person, with all that it keeps. No widget is in here."""

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from ..config import ExperimentConfig
from ..data import folders
from ..experiment import run_experiment
from ..image_keys import keys_of_dataset
from ..ledger import Round, read_ledger
from ..person import FIRST, Answer, Person, held, read_answers
from ..problem import Problem, prepare
from ..results.replay import with_true_labels
from .cards import data_uri, png_pixels
from .unlabelled import Unlabelled, lay_out


class Session:
    """The rounds of a person.

    Args:
        config: what to run; with `names`, its data set is a folder of images without labels. A session that was begun with
            more rounds keeps them.
        path: the ledger; answers go beside it, with the ending .answers.
        names: of the classes of unlabelled images; empty: the data set has its own.
        n_start: labels of each class that unlabelled images need before the first training.
        again: the ledger of another session: its queries are answered once more, and nothing is trained.
        grace: seconds in which handing in can be taken back.
        changed: called when there is something new to show.
        told: called with a sentence on what goes on.

    Raises:
        ValueError: n_start below 3, or classes that are not those of the session.
    """

    def __init__(
        self,
        config: ExperimentConfig,
        path: str | Path,
        names: Sequence[str] = (),
        n_start: int = 6,
        again: Path | None = None,
        grace: float = 0.0,
        changed: Callable[[], None] = lambda: None,
        told: Callable[[str], None] = lambda text: None,
    ):
        if n_start < 3:
            raise ValueError(f"n_start={n_start} must be at least 3: one image of each class to train, validate and test with.")
        self.path, self.names, self.n_start = Path(path), list(names), n_start
        self.again, self.grace, self._changed, self._told = again, grace, changed, told
        self.images: Unlabelled | None = None  # while the first labels are given
        self.problem: Problem | None = None
        self.person: Person | None = None
        header, self.rounds = read_ledger(self.path) if self.path.exists() else ({}, [])
        begun_with = header["config"]["n_rounds"] if header else 0
        self.fewer_wanted = config.n_rounds < begun_with
        self.config = replace(config, n_rounds=max(config.n_rounds, begun_with))
        self.truth: list[Round] = []
        self.finished = len(self.rounds) > self.config.n_rounds
        if not self.names or self._folder.exists():
            self.open()
            if self.answers_path.exists():
                self._sit_down()

    @property
    def answers_path(self) -> Path:
        """Where every answer is kept."""
        return self.path.with_suffix(".answers")

    @property
    def classes(self) -> list[str]:
        """In the order in which the form shows them."""
        return self.names or self.class_names

    @property
    def class_names(self) -> list[str]:
        """In the order of the data set."""
        return self.problem.dataset.class_names if self.problem else self.names

    @property
    def _folder(self) -> Path:
        """The data set that own images become with the first labels; the other session's where its queries are answered."""
        return Path(self.again or self.path).with_suffix(".images")

    def open(self) -> Problem:
        """Load the data; the classes of the form must be those of the data, whichever their order."""
        if self.problem is None:
            problem = prepare(self._own_config() if self.names else self.config)
            found = problem.dataset.class_names
            if self.names and set(self.names) != set(found):
                raise ValueError(
                    f"classes={', '.join(self.names)!r} are not those that this session began with: {', '.join(found)}. "
                    "Name these, or choose another session."
                )
            self.problem = problem
        return self.problem

    def _sit_down(self) -> Person:
        dataset = self.open().dataset
        keys = keys_of_dataset(dataset, folders.find(self.config.dataset) if self.names else None)
        self.person = Person(self.answers_path, keys, dataset.class_names, self.config.dataset, self._changed, grace=self.grace)
        return self.person

    def work(self, stopped: threading.Event) -> None:
        """All of the session, from where it is to its end. Raises: person.Stopped; see `run_experiment`."""
        if self.names and not self._folder.exists():
            if self.again:
                raise ValueError("the other session has not given all its first labels yet: finish these first.")
            self._first_labels(stopped)
        problem, person = self.open(), self._sit_down()
        if stopped.is_set():
            return
        self.rounds, self.finished = [], False
        if self.again:
            asked = [r for r in read_ledger(self.again)[1] if r.queried] if self.again.exists() else []
            if not asked:
                raise ValueError(f"there is no batch to answer once more: the session in {self.again.name} has handed in none.")
            for round in asked:  # what is answered wholly counts as handed in; the metrics are of another's labels
                whole = len(person.known(round)) == len(round.queried)
                labels = person.labels(round) if whole else person.answer(round, self.config.seed)
                self.rounds.append(replace(round, labels=labels, metrics={}))
        else:
            self._told("Training the network …")
            for round in run_experiment(problem.config, self.path, person):
                self.rounds.append(round)
        self.finished = True
        self.compare(stopped)

    def _first_labels(self, stopped):
        """Ask for labels of random images, until each class has enough to train, validate and test with."""
        C = len(self.names)
        c, least = self.config, C * self.n_start + self.config.n_rounds * self.config.n_query
        images = Unlabelled(c.dataset, self.names, c.seed, least, c.image_size)

        def enough(answers):
            given = Counter(answer.label for answer in answers)
            return all(given[name] >= self.n_start for name in self.names)

        self.images = images
        self.person = person = Person(
            self.answers_path, images.keys, self.names, self.config.dataset, self._changed, enough, self.grace
        )
        if stopped.is_set():
            person.stop()
        queue = Round(FIRST, 0, {}, queried=list(range(len(images.files))))
        person.answer(queue, self.config.seed)
        lay_out(images, person.known(queue), self._n_train, self._folder)

    @property
    def _n_train(self) -> int:
        """First labels of each class that are not for the test; once there is a folder, as many as it has."""
        classes = list((self._folder / "train").glob("*"))
        return min(len(list(path.iterdir())) for path in classes) if classes else (2 * self.n_start + 2) // 3

    def _own_config(self) -> ExperimentConfig:
        C = len(self.names)
        n_valid = max(1, self._n_train // 3) * C
        sizes = dict(dataset=f"folder:{self._folder.resolve()}", n_valid=n_valid, n_initial=self._n_train * C - n_valid)
        return ExperimentConfig.from_dict(self.config.to_dict() | sizes)

    @property
    def incomparable(self) -> str:
        """Why the same queries cannot be answered by the true classes; empty: they can."""
        if self.again:
            return "nothing is trained on these answers"
        return "the true classes are not known" if any(c < 0 for r in self.rounds for c in r.true_classes) else ""

    def compare(self, stopped: threading.Event) -> None:
        """Answer the same queries by the true classes, where they are known, through the same pipeline."""
        self.truth = []
        if self.incomparable:
            return
        self._told("Training on the true labels of the same queries …")
        for round in with_true_labels(self.open(), self.rounds):
            if stopped.is_set():
                return
            self.truth.append(round)

    def said(self) -> str:
        """How many answers there are, in a sentence."""
        if not self.answers_path.exists():
            return "Nothing is lost."
        n, done = sum(len(r.labels or []) for r in self.rounds), {r.round for r in self.rounds}
        steps = held(self.person.steps if self.person else read_answers(self.answers_path)).values()
        first = sum(a.round == FIRST for a in steps)
        more = sum(a.round >= 0 and a.round not in done for a in steps)
        said = (f"{first} first labels are saved; " if first else "") + f"{n} answers are handed in, {more} more are saved."
        more_rounds = f" The session keeps the {self.config.n_rounds} batches it began with; Stop ends it sooner."
        return said + (more_rounds if self.fewer_wanted and not self.finished else "")

    def answers_of(self, round: Round) -> dict[int, Answer]:
        """The answers that hold for the images of a round, as far as there are any."""
        return self.person.known(round) if self.person else {}

    def uri(self, image: int, first: bool) -> str:
        """An image for the page, as the network sees it; `first`: one of the first labels."""
        if first:
            assert self.images
            return self.images.uri(image)
        return data_uri(png_pixels(self.open().train.image(image)))
