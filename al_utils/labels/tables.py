"""Labels as a table: CSV files that spreadsheets and other programs read and write."""

import csv
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from ..person import FIRST, IMPORTED, Answer

COLUMNS = ("file", "class", "round", "answer", "seconds", "digest")
FILE_COLUMNS, CLASS_COLUMNS = ("file", "filename", "image", "path"), ("class", "label", "choice")  # as other programs say
SECONDS_COLUMNS = ("seconds", "lead_time")
LOCAL_FILES = "/data/local-files/?d="  # how Label Studio names a file below its document root
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
    """Labels from a table with a column for the file and one for the class, such as Label Studio's export as CSV or TSV.

    Lines without a class are passed over.

    Raises:
        LabelsError: no such columns, or several choices for one image.
    """
    with open(path, newline="", encoding="utf-8-sig") as file:
        lines = csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ",")
        names = {name.strip().lower(): name for name in lines.fieldnames or ()}
        named = [next((names[c] for c in known if c in names), None) for known in (FILE_COLUMNS, CLASS_COLUMNS)]
        if None in named:
            raise LabelsError(
                f"{path} has the columns {', '.join(names) or 'none'}; needed are one of {', '.join(FILE_COLUMNS)} "
                f"and one of {', '.join(CLASS_COLUMNS)}. Rename what is called otherwise."
            )
        columns = [*named, next((names[c] for c in SECONDS_COLUMNS if c in names), None), names.get("digest")]
        table = [["" if column is None else line[column] or "" for column in columns] for line in lines]
    if several := [file for file, label, _, _ in table if label.startswith('{"choices":')]:
        raise LabelsError(f"{several[0]} in {path} has several choices, but an image is of one class. Choose one there.")
    rows = [(file_name(file), label.strip(), _number(seconds), digest) for file, label, seconds, digest in table]
    return [Found(*row) for row in rows if row[1]]


def file_name(address: str) -> str:
    """A file's name out of the address that Label Studio has for it; any other name stays as it is."""
    address = re.sub(r"^https?://[^/]+(?=/data/)", "", address)
    if upload := re.match(r"/data/upload/(?:\d+/)?(?:[0-9a-f]{8}-)?(.*)", address):  # which it begins with eight digits
        return unquote(upload[1])
    return unquote(address.removeprefix(LOCAL_FILES)) if address.startswith(LOCAL_FILES) else address


def _number(text: str) -> float:
    try:
        return max(0.0, float(text))
    except ValueError:
        return 0.0
