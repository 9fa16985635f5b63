"""A person as the oracle: every answer is on disk at once, by the image's name and content."""

import json
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from .image_keys import ImageKey, ImageKeys
from .ledger import LedgerError, Round

LABEL, SKIP, UNRECOGNISABLE, UNDO = "label", "skip", "unrecognisable", "undo"
KINDS = (LABEL, SKIP, UNRECOGNISABLE, UNDO)
FIRST, IMPORTED = -1, -2  # in the place of a round: the first labels of images without any; labels made elsewhere


class Stopped(RuntimeError):
    """The person wants no more; what was answered is kept."""


@dataclass(frozen=True)
class Answer:
    """One step of a person: a line of the answers file. `label` is a class's name where `kind` is "label", else empty."""

    round: int
    file: str
    digest: str
    kind: str
    label: str = ""
    seconds: float = 0.0

    def __post_init__(self):
        if self.kind not in KINDS or bool(self.label) != (self.kind == LABEL):
            raise ValueError(
                f"kind={self.kind!r} with label={self.label!r}; allowed: {', '.join(KINDS)}, a label with the first"
            )

    @property
    def key(self) -> ImageKey:
        return ImageKey(self.file, self.digest)


def read_answers(path: str | Path) -> list[Answer]:
    """The steps in an answers file, oldest first; its first line, which says of which images, is no step.

    A torn last line is passed over.

    Raises:
        LedgerError: a line is corrupted, or keeps an answer by position, as earlier versions did.
    """
    data, answers = Path(path).read_bytes(), []
    for number, line in enumerate(data[: data.rfind(b"\n") + 1].splitlines(), start=1):
        try:
            record = json.loads(line)
            if isinstance(record, dict) and {"image", "answer"} <= set(record):
                raise LedgerError(
                    f"{path} keeps its answers by position, as earlier versions did: which image and class they mean cannot "
                    "be known for certain. Rename it: what was handed in stands in the ledger, the rest is asked again."
                )
            if number > 1 or "images" not in record:
                answers.append(Answer(**record))
        except (ValueError, TypeError) as error:
            raise LedgerError(
                f"{path}, line {number} is corrupted ({error}): restore it from a backup, or delete the file."
            ) from None
    return answers


def images_of(path: str | Path) -> str:
    """The data set that an answers file is of, such as `folder:PATH`; empty where it does not say."""
    with open(path, "rb") as file:
        line = file.readline()
    try:
        return str(json.loads(line).get("images", "")) if line.endswith(b"\n") else ""
    except (ValueError, AttributeError):
        return ""


def append_answers(path: str | Path, answers: Sequence[Answer], images: str = "") -> None:
    """Write steps at the end of an answers file, and wait until they are on the disk.

    Args:
        images: the data set, for the first line of a new file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    records = [asdict(answer) for answer in answers]
    if not path.exists() or not path.stat().st_size:
        records.insert(0, {"images": images})
    with open(path, "ab") as file:
        file.write("".join(json.dumps(record) + "\n" for record in records).encode())
        file.flush()
        os.fsync(file.fileno())


def held(answers: Sequence[Answer]) -> dict[ImageKey, Answer]:
    """The answers that hold, one an image: the last one that was given and not taken back, in that order."""
    last: dict[ImageKey, Answer] = {}
    for answer in answers:
        last.pop(answer.key, None)
        if answer.kind != UNDO:
            last[answer.key] = answer
    return last


class Person:
    """A person, who answers image by image through `give`, `undo` and `submit`.

    `answer` waits, so the experiment belongs in a thread beside the one that calls the others. A session that ended
    anyhow goes on where it was, also where images or classes have another order by then.

    Args:
        path: the answers file.
        keys: of the training images.
        class_names: of the data set; position c is class c.
        images: the name of the data set, which goes into the answers file.
        changed: called after every step, and when a round begins.
        enough: from a round's answers to whether it may be handed in; by default when no image is left.
        grace: seconds after handing in for which it can be taken back.

    Raises:
        LedgerError: a corrupted answers file, one of an earlier version, or answers of classes that are none.
    """

    description = {"kind": "person"}

    def __init__(
        self,
        path: str | Path,
        keys: ImageKeys,
        class_names: Sequence[str],
        images: str = "",
        changed: Callable[[], None] = lambda: None,
        enough: Callable[[list[Answer]], bool] | None = None,
        grace: float = 0.0,
    ):
        self.path, self.class_names, self.images = Path(path), list(class_names), images
        self.keys, self._changed, self._enough, self._grace = keys, changed, enough, grace
        self.round: Round | None = None
        self.handed_in = False  # and can still be taken back
        self._go = self._stopped = False
        self._wake = threading.Condition(threading.RLock())
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if not self.path.exists():
            append_answers(self.path, [], images)
        self.steps = read_answers(self.path)
        os.truncate(self.path, self.path.read_bytes().rfind(b"\n") + 1)  # a torn last line goes
        if strange := sorted({a.label for a in held(self.steps).values() if a.label} - set(self.class_names)):
            raise LedgerError(
                f"{self.path} has answers of the class {strange[0]!r}, which is none of {', '.join(self.class_names)}. "
                "Name the classes as before, or use another session."
            )

    def answer(self, round: Round, seed: int) -> list[int | None]:
        """Wait until every image of the round is answered and handed in for good. Raises: Stopped."""
        with self._wake:
            self.round, self.handed_in, self._go = round, False, False
        while True:
            self._changed()
            with self._wake:
                self._wake.wait_for(lambda: self.handed_in or self._stopped)
                if not self._stopped:
                    if self.handed_in:
                        self._wake.wait_for(lambda: self._go or self._stopped or not self.handed_in, self._grace)
                    if not self.handed_in and not self._stopped:
                        continue  # taken back
                given = self.handed_in
                labels = self.labels(round)
                self.round, self.handed_in = None, False
                if not given:
                    raise Stopped("stopped by the person")
            self._changed()
            return labels

    def labels(self, round: Round) -> list[int | None]:
        """The classes that the answers to a round name; None where an image has none."""
        known = self.known(round)
        labels = [known[image].label if image in known else "" for image in round.queried]
        return [self.class_names.index(label) if label else None for label in labels]

    def answers(self, number: int) -> dict[ImageKey, Answer]:
        """The answers of round `number` that hold, in the order in which they were given."""
        return held([step for step in self.steps if step.round == number])

    def known(self, asked: Round | None = None) -> dict[int, Answer]:
        """The answers that hold for images of a round, by default the current one: given in it, else imported before."""
        if (asked := asked or self.round) is None:
            return {}
        answers = {a.file: a for number in (IMPORTED, asked.round) for a in self.answers(number).values()}
        named = {image: answers[file] for image in asked.queried if (file := self.keys.files[image]) in answers}
        return {image: answer for image, answer in named.items() if answer.digest == self.keys.digest(image)}

    def pending(self) -> list[int]:
        """The images of the current round without an answer, in the order of the queries."""
        known = self.known()
        return [image for image in self.round.queried if image not in known] if self.round else []

    def passed_over(self) -> int:
        """Answers kept for the current round whose image is not among its queries: gone, renamed or changed."""
        if self.round is None:
            return 0
        return len(set(self.answers(self.round.round)) - {answer.key for answer in self.known().values()})

    def ready(self) -> bool:
        """Whether the round may be handed in."""
        if self.round is None:
            return False
        known = self.known()
        return self._enough(list(known.values())) if self._enough else len(known) == len(self.round.queried)

    def give(self, image: int, kind: str, label: str = "", seconds: float = 0.0, any_pending: bool = False) -> None:
        """Answer `image`, if it is the next pending one (or any of them).

        Another is passed over, so that a key pressed twice labels nothing unseen.
        """
        with self._wake:
            pending = self.pending()
            asked = image in (pending if any_pending else pending[:1])
            named = label in self.class_names if kind == LABEL else kind in (SKIP, UNRECOGNISABLE)
            if self.round and asked and named and not self.handed_in:
                self._write(Answer(self.round.round, *self.keys(image), kind, label, round(seconds, 3)))
        self._changed()

    def undo(self) -> None:
        """Take back the handing in, if that is still possible, else the last answer of the current round."""
        with self._wake:
            if self.handed_in:
                self.handed_in = False
                self._wake.notify_all()
            elif self.round and (answers := self.answers(self.round.round)):
                last = list(answers.values())[-1]
                self._write(Answer(self.round.round, *last.key, UNDO))
        self._changed()

    def relabel(self, answer: Answer, kind: str, label: str = "") -> None:
        """Answer an image anew, of whichever round. What a ledger holds stays; exported labels are the new ones."""
        with self._wake:
            self._write(Answer(answer.round, *answer.key, kind, label))
        self._changed()

    def submit(self) -> None:
        """Hand in the round's answers, if they are enough; a second time: for good, without waiting out the grace."""
        with self._wake:
            self._go = self.handed_in
            self.handed_in = self.handed_in or self.ready()
            self._wake.notify_all()
        self._changed()

    def stop(self) -> None:
        """Make `answer` raise `Stopped`, now or when it is next called; what was handed in by then counts."""
        with self._wake:
            self._stopped = True
            self._wake.notify_all()

    def _write(self, answer: Answer) -> None:
        append_answers(self.path, [answer], self.images)
        self.steps.append(answer)
