"""Labels as Label Studio has them: tasks with annotations, in JSON."""

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from ..person import Answer
from .tables import LOCAL_FILES, Found, LabelsError, file_name


def write_label_studio(answers: Sequence[Answer], path: Path) -> None:
    """Tasks with annotations, as Label Studio imports them, and beside them the labelling configuration they are for."""
    tasks = [
        {
            "data": {"image": LOCAL_FILES + quote(a.file), "round": a.round, "answer": a.kind, "digest": a.digest},
            "annotations": [{"result": _result(a.label), "was_cancelled": not a.label, "lead_time": a.seconds}],
        }
        for a in answers
    ]
    path.write_text(json.dumps(tasks, indent=1), encoding="utf-8")
    path.with_suffix(".xml").write_text(label_studio_config(sorted({a.label for a in answers if a.label})), encoding="utf-8")


def label_studio_config(class_names: Sequence[str]) -> str:
    """Label Studio's configuration of a form with one image and a choice of one class."""
    choices = "".join(f"<Choice value={quoteattr(name)}/>" for name in class_names)
    shown = '<Image name="image" value="$image"/>'
    return f'<View>{shown}<Choices name="class" toName="image" choice="single">{choices}</Choices></View>\n'


def _result(label):
    choice = {"from_name": "class", "to_name": "image", "type": "choices", "value": {"choices": [label]}}
    return [choice] if label else []


def read_label_studio(path: Path) -> list[Found]:
    """Labels from Label Studio's export (JSON, tasks with annotations); tasks without an annotation are passed over.

    Raises:
        LabelsError: no such export, more than one choice, or annotations of a task that disagree.
    """
    labels: dict[str, list[Found]] = defaultdict(list)
    try:
        tasks = json.loads(path.read_text(encoding="utf-8"))
        for data, annotation in [(task["data"], annotation) for task in tasks for annotation in task["annotations"]]:
            results = [] if annotation.get("was_cancelled") else annotation["result"]
            choices = [choice for r in results if r["type"] == "choices" for choice in r["value"]["choices"]]
            name = data.get("image") or next(value for value in data.values() if isinstance(value, str))
            if len(choices) > 1:
                raise LabelsError(
                    f"{name} in {path} has {len(choices)} choices, but an image is of one class. Choose one there."
                )
            seconds, digest = float(annotation.get("lead_time") or 0), data.get("digest", "")
            labels[name] += [Found(file_name(name), choice, seconds, digest) for choice in choices]
    except LabelsError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, StopIteration) as error:
        raise LabelsError(f"{path} is no export of Label Studio as JSON ({error!r}): export tasks with annotations.") from None
    for name, several in labels.items():
        if len({one.label for one in several}) > 1:
            said = ", ".join(one.label for one in several)
            raise LabelsError(f"{name} in {path} is annotated as {said}. Decide there, or export one annotator's work.")
    return [several[-1] for several in labels.values() if several]
