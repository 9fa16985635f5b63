"""Labels out of a session and in again: CSV, folders, Label Studio."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT

from al_utils.datasets import load_dataset
from al_utils.image_keys import keys_of_dataset, keys_of_files
from al_utils.labels.label_studio import label_studio_config, read_label_studio
from al_utils.labels.tables import LabelsError, file_name, read_csv
from al_utils.labels.transfer import bring_in, export, session_answers
from al_utils.person import FIRST, IMPORTED, Answer, append_answers


@pytest.fixture
def session(image_folder, tmp_path):
    """Six of eight images answered: a cat, three dogs, a skipped one, an unrecognisable one."""
    folder = image_folder({"one": 4, "two, or more": 4})
    keys = keys_of_files(sorted(folder.rglob("*.png")), folder)
    said = [("label", "cat"), ("label", "dog"), ("label", "dog"), ("skip", ""), ("unrecognisable", ""), ("label", "dög & <co>")]
    answers = [Answer(FIRST if i < 2 else 0, *keys(i), kind, label, 1.5) for i, (kind, label) in enumerate(said)]
    append_answers(tmp_path / "me.answers", answers, f"folder:{folder}")
    return tmp_path / "me.answers"


def kept(path):
    return {(a.file, a.digest, a.label) for a in session_answers(path) if a.label}


@pytest.mark.parametrize("ending", ["csv", "json"])
def test_labels_go_out_and_come_in_again(session, tmp_path, ending):
    to = tmp_path / f"labels.{ending}"
    assert export(session, to) == f"4 labels and 2 answers without one, written to {to}."
    images = json.loads(session.read_text().splitlines()[0])["images"]
    said = bring_in(tmp_path / "new.answers", to, images)
    assert said == f"4 labels are in {tmp_path / 'new.answers'}: cat 1, dog 2, dög & <co> 1."
    assert kept(tmp_path / "new.answers") == kept(session)
    assert {a.round for a in session_answers(tmp_path / "new.answers")} == {IMPORTED}
    assert {a.seconds for a in session_answers(tmp_path / "new.answers")} == {1.5}


def test_a_table_says_file_class_round_answer_and_seconds(session, tmp_path):
    export(session, tmp_path / "labels.csv")
    with open(tmp_path / "labels.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [(n["file"], n["class"], n["round"], n["answer"], n["seconds"]) for n in lines[:4]] == [
        ("one/0.png", "cat", "first labels", "label", "1.5"), ("one/1.png", "dog", "first labels", "label", "1.5"),
        ("one/2.png", "dog", "0", "label", "1.5"), ("one/3.png", "", "0", "skip", "1.5"),
    ]  # fmt: skip


@pytest.mark.parametrize("copy", [False, True])
def test_folders_are_read_as_a_data_set(session, tmp_path, copy):
    export(session, tmp_path / "out", copy=copy)
    files = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.png"))
    assert files == ["cat/one__0.png", "dog/one__1.png", "dog/one__2.png", "dög & <co>/two, or more__1.png"]
    assert all(path.is_symlink() != copy for path in (tmp_path / "out").rglob("*.png"))
    with pytest.raises(LabelsError, match="is not empty"):
        export(session, tmp_path / "out")


def test_images_of_a_data_set_without_files_become_files(tmp_path):
    data = load_dataset("mnist5k")
    append_answers(tmp_path / "me.answers", [Answer(0, *keys_of_dataset(data)(7), "label", "three")], "mnist5k")
    export(tmp_path / "me.answers", tmp_path / "out")
    from PIL import Image

    with Image.open(tmp_path / "out/three/mnist5k 7.png") as image:
        assert (np.asarray(image) == data.train_images[7, 0].numpy()).all()


def test_an_image_that_is_gone_or_has_changed_is_refused(session, tmp_path, image_folder):
    changed = tmp_path / "images/one/0.png"
    changed.write_bytes((tmp_path / "images/one/1.png").read_bytes())
    with pytest.raises(LabelsError, match="'one/0.png' in .* is not the image that was labelled"):
        export(session, tmp_path / "out")
    changed.unlink()
    with pytest.raises(LabelsError, match="'one/0.png' in"):
        export(session, tmp_path / "other")


@pytest.mark.parametrize(
    "table, says",
    [
        ("name,kind\n0.png,cat\n", "has the columns name, kind; needed are one of file"),
        ("", "has the columns none"),
        ("file,class\nnowhere.png,cat\n", "no image is called 'nowhere.png'"),
        ("file,class\n3.png,cat\n", "2 images are called '3.png'"),
        ("file,class\none/3.png,cat\none/3.png,dog\n", "two labels for one/3.png"),
        ("file,class,digest\none/3.png,cat,0123\n", "its content has changed"),
    ],
)
def test_a_table_that_cannot_be_meant_is_refused(session, tmp_path, table, says):
    (tmp_path / "labels.csv").write_text(table)
    before = session.read_text()
    with pytest.raises(LabelsError, match=says):
        bring_in(session, tmp_path / "labels.csv")
    assert session.read_text() == before


def test_a_table_with_the_numbers_of_its_rows_is_read(tmp_path):
    (tmp_path / "labels.csv").write_text(",file,class\n0,a.png,cat\n1,b.png,dog\n")
    assert [(found.file, found.label, found.seconds, found.digest) for found in read_csv(tmp_path / "labels.csv")] == [
        ("a.png", "cat", 0, ""), ("b.png", "dog", 0, ""),
    ]  # fmt: skip


def test_columns_go_by_the_names_of_other_programs(tmp_path):
    (tmp_path / "labels.csv").write_text("\ufeffid,Image,choice\n1,a.png,cat\n2,b.png,\n", encoding="utf-8")
    assert [(one.file, one.label) for one in read_csv(tmp_path / "labels.csv")] == [("a.png", "cat")]


# As Label Studio writes it: columns by the alphabet, text in quotes, the answers under the name of the form's choices.
LABEL_STUDIO_CSV = """"annotation_id","annotator","choice","created_at","id","image","lead_time","updated_at"
11,"ann@example.org","cat","2024-05-01T10:00:00.000000Z",1,"/data/local-files/?d=one/0.png",1.5,"2024-05-01T10:00:02.000000Z"
12,"bob@example.org","cat","2024-05-01T10:01:00.000000Z",1,"/data/local-files/?d=one/0.png",2.25,"2024-05-01T10:01:02.000000Z"
13,"ann@example.org","dög, or <co>","2024-05-01T10:02:00.000000Z",2,"/data/local-files/?d=two%2C%20or%20more/1.png",3.0,""
,"","","",3,"/data/local-files/?d=one/1.png","",""
"""


@pytest.mark.parametrize("ending", ["csv", "tsv"])
def test_label_studios_table_is_read(session, tmp_path, ending):
    table = list(csv.reader(LABEL_STUDIO_CSV.splitlines()))
    with open(tmp_path / f"export.{ending}", "w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter="\t" if ending == "tsv" else ",", quoting=csv.QUOTE_ALL).writerows(table)
    images = json.loads(session.read_text().splitlines()[0])["images"]
    said = bring_in(tmp_path / "new.answers", tmp_path / f"export.{ending}", images)
    assert said.endswith("new.answers: cat 1, dög, or <co> 1.")
    found = {a.file: (a.label, a.seconds) for a in session_answers(tmp_path / "new.answers")}
    assert found == {"one/0.png": ("cat", 2.25), "two, or more/1.png": ("dög, or <co>", 3.0)}


@pytest.mark.parametrize(
    "old, new, says",
    [
        (',"cat","2024-05-01T10:01', ',"dog","2024-05-01T10:01', "two labels for one/0.png.*one annotator's work"),
        ('"dög, or <co>"', '"{""choices"": [""cat"", ""dog""]}"', "1.png in .* has several choices"),
        ('"choice"', '"animal"', "has the columns annotation_id, .*animal, .*Rename what is called otherwise"),
    ],
)
def test_a_table_of_label_studio_that_cannot_be_meant_is_refused(session, tmp_path, old, new, says):
    assert LABEL_STUDIO_CSV.count(old) == 1
    (tmp_path / "export.csv").write_text(LABEL_STUDIO_CSV.replace(old, new), encoding="utf-8")
    with pytest.raises(LabelsError, match=says):
        bring_in(session, tmp_path / "export.csv")


def test_label_studios_own_converter_makes_tables_that_are_read(session, tmp_path):
    """From our tasks through its form and its converter, where its SDK is installed."""
    converter = pytest.importorskip("label_studio_sdk.converter", reason="needs label-studio-sdk")
    export(session, tmp_path / "tasks.json")
    tasks = json.loads((tmp_path / "tasks.json").read_text())
    for number, one in enumerate(tasks):  # as the server numbers them
        one["id"] = number
        one["annotations"] = [annotation | {"id": 10 + number, "created_at": "2024-05-01"} for annotation in one["annotations"]]
    (tmp_path / "tasks.json").write_text(json.dumps(tasks))
    images = json.loads(session.read_text().splitlines()[0])["images"]
    for ending, sep in (("csv", ","), ("tsv", "\t")):
        made = converter.Converter(str(tmp_path / "tasks.xml"), str(tmp_path))
        made.convert_to_csv(str(tmp_path / "tasks.json"), str(tmp_path / ending), is_dir=False, sep=sep)
        table = (tmp_path / ending / "result.csv").rename(tmp_path / f"export.{ending}")
        bring_in(tmp_path / f"{ending}.answers", table, images)
        assert kept(tmp_path / f"{ending}.answers") == kept(session)
        assert {a.seconds for a in session_answers(tmp_path / f"{ending}.answers")} == {1.5}


def test_a_file_whose_name_begins_with_eight_digits_keeps_them():
    """Only an upload gets digits from Label Studio; names that are UUIDs are common."""
    name = "3f2504e0-4f89-11d3-9a0c-0305e82c3301.png"
    for address in (
        name,
        f"/data/local-files/?d={name}",
        f"/data/upload/2/0a1b2c3d-{name}",
        f"http://host/data/upload/0a1b2c3d-{name}",
    ):
        assert file_name(address) == name
    assert file_name("s3://bucket/a%20b.png") == "s3://bucket/a%20b.png"


def task(image, *choices, **more):
    result = [{"from_name": "c", "to_name": "i", "type": "choices", "value": {"choices": [choice]}} for choice in choices]
    return {"id": 1, "data": {"image": image}, "annotations": [{"result": result} | more]}


def test_label_studio_names_files_in_ways_of_its_own(tmp_path):
    names = [
        "/data/local-files/?d=some%20folder/a.png",
        "/data/upload/1/0a1b2c3d-a.png",
        "http://host/data/upload/0a1b2c3d-a.png",
    ]
    (tmp_path / "t.json").write_text(json.dumps([task(name, "cat") for name in names] + [task("b.png", was_cancelled=True)]))
    assert [(one.file, one.label) for one in read_label_studio(tmp_path / "t.json")] == [
        ("some folder/a.png", "cat"), ("a.png", "cat"), ("a.png", "cat"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "tasks, says",
    [
        ([task("a.png", "cat", "dog")], "2 choices"),
        ([task("a.png", "cat"), task("a.png", "dog")], "annotated as cat, dog"),
        ([{"image": "a.png"}], "no export of Label Studio"),
        ("nonsense", "no export of Label Studio"),
    ],
)
def test_tasks_that_cannot_be_meant_are_refused(tmp_path, tasks, says):
    (tmp_path / "t.json").write_text(json.dumps(tasks))
    with pytest.raises(LabelsError, match=says):
        read_label_studio(tmp_path / "t.json")


def test_label_studio_accepts_the_tasks(session, tmp_path):
    """Against Label Studio's own checks, where its SDK is installed."""
    interface = pytest.importorskip("label_studio_sdk.label_interface", reason="needs label-studio-sdk")
    export(session, tmp_path / "tasks.json")
    form = interface.LabelInterface((tmp_path / "tasks.xml").read_text())
    form.validate()
    for one in json.loads((tmp_path / "tasks.json").read_text()):
        assert form.validate_task({"data": one["data"]})
        assert all(form.validate_annotation(annotation) for annotation in one["annotations"])


def test_the_form_escapes_names():
    assert 'value="a &amp; &lt;b&gt;"' in label_studio_config(["a & <b>"])


def test_the_command_line(session, tmp_path):
    def run(*arguments):
        command = [sys.executable, "-m", "al_utils.labels", *map(str, arguments)]
        done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True)
        return done.returncode, done.stdout + done.stderr

    to = tmp_path / "l.csv"
    assert run("export", session, to) == (0, f"4 labels and 2 answers without one, written to {to}.\n")
    status, said = run("export", tmp_path / "none.answers", to)
    assert status == 2 and said.startswith("error: there is no ") and said.count("\n") == 1
    (tmp_path / "you.answers").write_bytes(session.read_bytes())
    said = run("agreement", session, tmp_path / "you.answers")
    assert said == (0, "me and you agree on 4 of 4 images (100%), Cohen's kappa 1.00.\n")
    (tmp_path / "b").mkdir()
    other = (tmp_path / "me.answers").rename(tmp_path / "b" / "me.answers")
    (tmp_path / "you.answers").rename(tmp_path / "me.answers")
    said = run("agreement", tmp_path / "me.answers", other)
    assert said == (0, f"{tmp_path.name}/me and b/me agree on 4 of 4 images (100%), Cohen's kappa 1.00.\n")
    assert run("agreement", other, other) == (2, "error: the same session is given twice: give one of each annotator.\n")


def test_classes_and_names_that_a_folder_cannot_hold(tmp_path, image_folder):
    folder = image_folder({"a": 2})
    (folder / "a__0.png").write_bytes((folder / "a" / "1.png").read_bytes())
    keys = keys_of_files([folder / "a" / "0.png", folder / "a__0.png"], folder)
    answers = [Answer(0, *keys(i), "label", "cat", 1.0) for i in range(2)]
    append_answers(tmp_path / "me.answers", answers, f"folder:{folder}")
    export(tmp_path / "me.answers", tmp_path / "out", copy=True)
    assert sorted(path.name for path in (tmp_path / "out" / "cat").iterdir()) == ["a__0.png", "a__0_.png"]
    for label in ("T-shirt/top", "test"):
        append_answers(tmp_path / "me.answers", [Answer(0, *keys(0), "label", label, 1.0)], f"folder:{folder}")
        with pytest.raises(LabelsError, match=f"the class '{label}' cannot be the name of a class's folder: write NAME.csv"):
            export(tmp_path / "me.answers", tmp_path / label.replace("/", ""))


def test_a_class_that_a_named_data_set_lacks_is_refused_before_anything_is_written(tmp_path):
    (tmp_path / "l.csv").write_text("file,class\nmnist5k 0,0 \nmnist5k 1,O\n")
    with pytest.raises(LabelsError, match="has the class 'O', but those of mnist5k are 0, 1, 2"):
        bring_in(tmp_path / "me.answers", tmp_path / "l.csv", "mnist5k")
    assert not (tmp_path / "me.answers").exists()
    (tmp_path / "l.csv").write_text("file,class\nmnist5k 0,0 \n")
    assert bring_in(tmp_path / "me.answers", tmp_path / "l.csv", "mnist5k").startswith("1 labels are in")
