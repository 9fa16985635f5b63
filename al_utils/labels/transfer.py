"""A session's labels out, and labels made elsewhere into a session."""

from collections import Counter
from pathlib import Path

from ..person import IMPORTED, LABEL, Answer, append_answers, held, images_of, read_answers
from .images import NamedImages, write_folders
from .label_studio import read_label_studio, write_label_studio
from .tables import LabelsError, read_csv, write_csv


def session_answers(path: str | Path) -> list[Answer]:
    """The answers of a session that hold, one an image. Raises: LabelsError: no such file; LedgerError: a corrupted one."""
    if not Path(path).is_file():
        raise LabelsError(f"there is no {path}. Notebook 04 prints the path of a session's answers.")
    return list(held(read_answers(path)).values())


def export(session: str | Path, to: str | Path, images: str = "", copy: bool = False) -> str:
    """Write a session's labels: to `.csv`, to `.json` for Label Studio, else into a new folder with one folder a class.

    Args:
        images: where the images are, such as `folder:PATH`; by default what the session says.
        copy: copies in the folders, instead of links.

    Returns:
        What was written, in a sentence.
    """
    answers, target = session_answers(session), Path(to)
    labelled = [answer for answer in answers if answer.kind == LABEL]
    if target.suffix == ".csv":
        write_csv(answers, target)
    elif target.suffix == ".json":
        write_label_studio(answers, target)
    else:
        write_folders(labelled, target, images or images_of(session), copy)
    return f"{len(labelled)} labels and {len(answers) - len(labelled)} answers without one, written to {to}."


def bring_in(session: str | Path, labels: str | Path, images: str = "") -> str:
    """Put labels from a table (CSV, TSV) or Label Studio's JSON into a session's answers, where nobody need give them again.

    Args:
        images: the data set that they are of; by default what the session says.

    Returns:
        What was imported, in a sentence.

    Raises:
        LabelsError: a file that is not among the images, has changed, or has two labels; a class that the data set lacks.
    """
    file, images = Path(labels), images or (images_of(session) if Path(session).exists() else "")
    if not file.is_file():
        raise LabelsError(f"there is no file {file}. Give a CSV or TSV file, or Label Studio's JSON.")
    found = read_label_studio(file) if file.suffix == ".json" else read_csv(file)
    there = NamedImages(images)
    numbers = [there.number(one.file, one.digest) for one in found]
    of_image = dict(zip(numbers, found))  # several annotators may have said the same
    if twice := [one for n, one in zip(numbers, found) if one.label != of_image[n].label]:
        raise LabelsError(f"{file} has two labels for {twice[0].file}. Leave one of them, or export one annotator's work.")
    if there.class_names and (odd := [one.label for one in found if one.label not in there.class_names]):
        raise LabelsError(f"{file} has the class {odd[0]!r}, but those of {images} are {', '.join(there.class_names)}.")
    steps = [Answer(IMPORTED, *there.keys(n), LABEL, one.label, one.seconds) for n, one in of_image.items()]
    append_answers(session, steps, images)
    counts = ", ".join(f"{label} {n}" for label, n in sorted(Counter(step.label for step in steps).items()))
    return f"{len(steps)} labels are in {session}: {counts or 'none'}."
