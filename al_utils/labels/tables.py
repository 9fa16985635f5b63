"""Labels as a table: CSV files that spreadsheets and other programs read and write."""

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..person import FIRST, IMPORTED, Answer

COLUMNS = ("file", "class", "round", "answer", "seconds", "digest")
FILE_COLUMNS, CLASS_COLUMNS = ("file", "filename", "image", "path"), ("class", "label", "choice")  # as other programs say
ROUNDS = {FIRST: "first labels", IMPORTED: "imported"}


class LabelsError(ValueError):
    """Labels that cannot be exported or imported; the message says why and what to do."""


@dataclass(frozen=True)
class Found:
    """A label of a file to be imported: the image's name there, the class's, and how long it took in seconds."""

    file: str
    label: str
    seconds: float = 0.0
    digest: str = ""


def write_csv(answers: Iterable[Answer], path: Path) -> None:
    """A line an image: file, class (empty: no label), round, answer, seconds, and the hash of the image."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file)
        lines.writerow(COLUMNS)
        lines.writerows((a.file, a.label, ROUNDS.get(a.round, a.round), a.kind, a.seconds, a.digest) for a in answers)


def read_csv(path: Path) -> list[Found]:
    """Labels from a table with a column for the file and one for the class; lines without a class are passed over.

    Raises:
        LabelsError: no such columns.
    """
    with open(path, newline="", encoding="utf-8-sig") as file:
        lines = csv.DictReader(file)
        names = {name.strip().lower(): name for name in lines.fieldnames or ()}
        columns = [next((names[c] for c in known if c in names), None) for known in (FILE_COLUMNS, CLASS_COLUMNS)]
        if None in columns:
            raise LabelsError(
                f"{path} has the columns {', '.join(names) or 'none'}; needed are one of {', '.join(FILE_COLUMNS)} "
                f"and one of {', '.join(CLASS_COLUMNS)}."
            )
        found = [Found(line[columns[0]] or "", line[columns[1]] or "", _number(line.get(names.get("seconds", ""))),
                       line.get(names.get("digest", "")) or "") for line in lines]  # fmt: skip
    return [one for one in found if one.label]


def _number(text) -> float:
    try:
        return max(0.0, float(text))
    except (TypeError, ValueError):
        return 0.0
