"""Notebook 04 without a browser: the session, the desk, what comes out of them."""

from dataclasses import replace

import pytest
import torch
from conftest import tiny, wait_for

from al_utils import ExperimentConfig, Round, read_ledger
from al_utils.data.folders import DatasetError
from al_utils.datasets import load_dataset
from al_utils.image_keys import keys_of_dataset
from al_utils.person import FIRST, Answer, read_answers
from al_utils.widgets.desk import keys_for
from al_utils.widgets.labeller import EXPORTS, MANY, Labeller
from al_utils.widgets.labelling_results import session_summary
from al_utils.widgets.ledger_paths import ledger_path
from al_utils.widgets.session import Session
from al_utils.widgets.unlabelled import Unlabelled, lay_out


def press(panel, label, **more):
    panel._act(None, {"kind": "label", "label": label, "image": panel.desk.state["image"], "seconds": 0.5} | more, [])


def asked(panel):
    wait_for(lambda: panel.desk.state["image"] is not None)
    return panel.session.person.round


# --- Keys ---


@pytest.mark.parametrize(
    "classes, keys",
    [
        (list("0123456789"), list("0123456789")),
        (["cat", "dog"], ["c", "d"]),
        (["cat", "cow", "Crab"], ["1", "2", "3"]),
        (["T-shirt/top", "Trouser"], ["1", "2"]),
        ([str(c) for c in range(12)], [*"0123456789", "a", "b"]),  # numbers are their own keys where they fit
        (["0", "1", "10", "11", "2"], ["0", "1", "3", "4", "2"]),
        (["a", "A", "b"], ["a", "1", "b"]),
        ([f"class {c}" for c in range(36)], list("1234567890abcdefghijklmnopqrstuvwxyz")),
        ([str(c) for c in range(40)], [f"{c:02d}" for c in range(40)]),  # two digits, one after the other
        ([f"class {c}" for c in range(101)], [f"{c:03d}" for c in range(101)]),
    ],
)
def test_every_class_has_a_key_of_its_own(classes, keys):
    assert keys_for(classes) == keys and len(set(keys)) == len(classes)


# --- Results ---


def test_the_summary_counts_errors_and_what_they_cost():
    def a_round(number, accuracy, classes, labels):
        return Round(number, 10, {"test_accuracy": accuracy}, list(range(len(classes))), [], classes, labels=labels)

    rounds = [a_round(0, 0.5, [0, 1, 1, 0], [0, 0, None, 1]), a_round(1, 0.6, [], None)]
    truth = [replace(rounds[0], labels=None), replace(rounds[1], metrics={"test_accuracy": 0.7})]
    steps = [Answer(0, "a", "", "label", "cat", 1.0), Answer(0, "a", "", "undo"), Answer(0, "b", "", "skip", "", 3.0)]
    said = session_summary(rounds, truth, steps, ["cat", "dog"])[""]
    assert said["Error rate"].startswith("66.7% (2 of 3") and said["Seconds per label"].startswith("2.0 (median of 2")
    assert "dog taken for cat (1×)" in said["Confusions"] and said["What the errors cost"].startswith("+10.0 points")
    unknown = session_summary([replace(rounds[0], true_classes=[-1] * 4)], [], steps, ["cat", "dog"])[""]
    assert "not known" in unknown["Error rate"] and "What the errors cost" not in unknown
    between = session_summary(rounds, truth, steps, ["cat", "dog"], final=False)[""]
    assert not {"Error rate", "Confusions", "What the errors cost"} & set(between.index)


# --- The session ---


def test_the_labeller_asks_saves_and_trains(tmp_path):
    config = tiny(strategy="max_entropy", n_rounds=1)
    panel = Labeller(config, tmp_path / "me.jsonl", grace=0)
    panel._start()
    asked(panel)
    for k in range(5):
        state = panel.desk.state
        assert "base64" in state["uri"] and f"image {k + 1} of 5" in state["text"]
        press(panel, "3")
        press(panel, "4", image=state["image"])  # a key pressed twice
    assert panel.desk.state["can_submit"] and len(read_answers(panel.session.answers_path)) == 5
    assert "Error rate" not in panel.results.value  # not while there is something to learn from it
    panel._act(None, {"submit": True}, [])
    assert panel.job.wait(60) and "Done." in panel.status.value
    assert [r.labels for r in read_ledger(tmp_path / "me.jsonl")[1]] == [[3] * 5, None]
    assert "Error rate" in panel.results.value and "What the errors cost" in panel.results.value
    for form, ending in EXPORTS.items():
        panel.form.value = form
        panel._export()
        assert "5 labels and 0 answers without one" in panel.status.value and (tmp_path / f"me{ending}").exists()


def test_a_grid_takes_answers_in_any_order_and_changes_them(tmp_path):
    panel = Labeller(tiny(strategy="max_entropy", n_rounds=1), tmp_path / "me.jsonl", grace=0)
    panel._start()
    queried = asked(panel).queried
    panel.view.value = MANY
    assert [tile["image"] for tile in panel.desk.tiles] == queried and panel.desk.state["grid"]
    press(panel, "3", image=queried[4])
    press(panel, "5", image=queried[1])
    for _ in range(2):  # pressed twice: one answer
        press(panel, "6", image=queried[1])
    assert [answer.label for answer in read_answers(panel.session.answers_path)] == ["3", "5", "6"]
    assert panel.desk.state["marks"] == {str(queried[4]): "3", str(queried[1]): "6"}
    assert panel.desk.state["text"] == "Round 1: 2 of 5 are answered."
    panel.view.value = "one"
    assert panel.desk.state["image"] == queried[0]
    for _ in range(3):
        press(panel, "1")
    panel._act(None, {"submit": True}, [])
    assert panel.job.wait(60)
    given = [1, 6, 1, 1, 3]
    assert read_ledger(tmp_path / "me.jsonl")[1][0].labels == given

    # Earlier answers can be changed; the ledger stays, what is exported changes.
    panel.view.value = 0
    press(panel, "9", image=queried[0])
    assert panel.desk.state["marks"][str(queried[0])] == "9"
    assert read_ledger(tmp_path / "me.jsonl")[1][0].labels == given
    assert panel.session.person.answers(0)[panel.session.person.keys(queried[0])].label == "9"


def test_what_the_network_thinks_is_what_it_will_be_scored_by(tmp_path):
    panel = Labeller(tiny(strategy="max_entropy", n_rounds=1), tmp_path / "me.jsonl")
    panel._start()
    queried = asked(panel).queried
    assert panel.desk.state["suggestion"] == ""
    panel.suggest.value = True
    wait_for(lambda: panel.desk.state["suggestion"])
    assert panel.desk.state["suggestion"].startswith("The network takes it for ")
    assert set(panel._suggested) == set(queried)
    panel._stop()
    assert panel.job.wait(30)


def test_queries_are_answered_once_more_by_another(tmp_path):
    config = tiny(strategy="max_entropy", n_rounds=1)
    for session, again in (("a", None), ("b", tmp_path / "a.jsonl")):
        panel = Labeller(config, tmp_path / f"{session}.jsonl", again=again, grace=0)
        panel._start()
        asked(panel)
        for _ in range(5):
            press(panel, "3" if session == "a" else "4")
        panel._act(None, {"submit": True}, [])
        assert panel.job.wait(60) and "Done." in panel.status.value, panel.status.value
    a, b = (read_answers(tmp_path / f"{name}.answers") for name in "ab")
    assert [s.key for s in a] == [s.key for s in b] and {s.label for s in b} == {"4"}
    assert not (tmp_path / "b.jsonl").exists()  # nothing was trained
    assert "Test accuracy" not in panel.results.value and "Error rate" in panel.results.value
    panel._with_truth()
    assert "nothing is trained on these answers" in panel.status.value
    again = Labeller(config, tmp_path / "b.jsonl", again=tmp_path / "a.jsonl", grace=0)
    again._start()  # what was answered is not asked for again
    assert again.job.wait(60) and "Done." in again.status.value and again.session.rounds[0].labels == [4] * 5


def test_without_a_batch_there_is_nothing_to_answer_once_more(tmp_path):
    panel = Labeller(tiny(), tmp_path / "b.jsonl", again=tmp_path / "nobody.jsonl")
    panel._start()
    assert panel.job.wait(60) and "there is no batch to answer once more" in panel.status.value


def own_session(folder, path, classes, n_rounds=1, **options):
    config = ExperimentConfig(
        dataset=f"folder:{folder}", protocol="tuned", epochs=2, n_query=3, n_rounds=n_rounds, mc_samples=2
    )
    return Labeller(config, path, classes, **dict(n_start=3, grace=0) | options)


def test_first_labels_stay_with_their_files_and_classes_with_their_names(image_folder, tmp_path):
    """A file more and the classes in another order leave every answer where it belongs, up to the ledger."""
    folder, path = image_folder({"any": 24}), tmp_path / "me.jsonl"
    truth = {f"any/{i}.png": ("dog", "ape")[i % 2] for i in range(100)}

    def label_all(panel):
        while (image := panel.desk.state["image"]) is not None:
            person = panel.session.person
            press(panel, truth[person.keys.files[image]])
            if person.ready():
                return

    panel = own_session(folder, path, ["dog", "ape"])
    panel._start()
    asked(panel)
    for _ in range(4):
        press(panel, truth[panel.session.person.keys.files[panel.desk.state["image"]]])
    panel._stop()
    assert panel.job.wait(30)
    image_folder({"any": 25})  # one more; the others stay as they are
    panel = own_session(folder, path, ["ape", "dog"])
    panel._start()
    asked(panel)
    assert panel.session.person.round.round == FIRST and len(panel.session.person.known()) == 4
    label_all(panel)
    panel._act(None, {"submit": True}, [])
    wait_for(lambda: panel.session.problem and panel.desk.state["image"] is not None)
    for kept in read_answers(path.with_suffix(".answers")):
        assert kept.label == truth[kept.file]
    data = panel.session.problem.dataset
    assert data.class_names == ["ape", "dog"] and panel.desk.state["classes"] == ["ape", "dog"]
    person = panel.session.person
    for _ in range(3):
        press(panel, truth[person.keys.files[panel.desk.state["image"]]])
    panel._act(None, {"submit": True}, [])
    assert panel.job.wait(60), panel.status.value
    [first, _] = read_ledger(path)[1]
    assert [data.class_names[label] for label in first.labels] == [truth[person.keys.files[i]] for i in first.queried]
    assert "not known" in panel.results.value

    # Classes that are not those of the data are refused; another order of the form changes nothing.
    with pytest.raises(ValueError, match="classes='ape, cat' are not those that this session began with: ape, dog"):
        own_session(folder, path, ["ape", "cat"])
    again = own_session(folder, path, ["dog", "ape"])
    assert again.desk.state["classes"] == ["dog", "ape"] and again.session.class_names == ["ape", "dog"]
    assert [a.label for a in again.session.answers_of(first).values()] == [truth[person.keys.files[i]] for i in first.queried]
    other = own_session(folder, tmp_path / "you.jsonl", ["ape", "dog"], again=path)  # is asked for the same
    other._start()
    round = asked(other)
    assert [other.session.person.keys.files[i] for i in round.queried] == [person.keys.files[i] for i in first.queried]
    other._stop()
    assert other.job.wait(30) and not (tmp_path / "you.images").exists()
    assert own_session(folder, path, ["ape", "dog"], n_start=5).session.problem is not None  # it has the first labels it has


def test_unlabelled_images_are_laid_out_as_a_data_set(image_folder, tmp_path):
    folder = image_folder({"any": 20})
    images = Unlabelled(f"folder:{folder}", ["cat", "dog"], seed=0, least=10)
    answers = {k: Answer(FIRST, *images.keys(k), "label", ("cat", "dog")[k % 2]) for k in range(8)}
    answers |= {8: Answer(FIRST, *images.keys(8), "skip"), 9: Answer(FIRST, *images.keys(9), "unrecognisable")}
    lay_out(images, answers, 3, tmp_path / "laid out")
    data = load_dataset(f"folder:{tmp_path / 'laid out'}")
    assert torch.bincount(data.train_labels + 1).tolist() == [10, 3, 3] and len(data.test_labels) == 2
    links = tmp_path / "links"
    links.mkdir()
    for path in (folder / "any").iterdir():
        (links / path.name).symlink_to(path)  # of the user
    linked = Unlabelled(f"folder:{links}", ["cat", "dog"], seed=0, least=10)
    answers = {k: Answer(FIRST, *linked.keys(k), "label", ("cat", "dog")[k % 2]) for k in range(8)}
    lay_out(linked, answers, 3, tmp_path / "of links")
    keys = keys_of_dataset(load_dataset(f"folder:{tmp_path / 'of links'}"), links)
    assert len(keys.files) == 18 and set(keys.files) < set(linked.keys.files)  # without the two of the test
    for classes, message in (
        (["cat"], "two or more"),
        (["cat", "No labels"], "none such as 'unlabelled'"),
        (["cat", "cat"], "different"),
        (["a/b", "c"], "without"),
    ):
        with pytest.raises(DatasetError, match=message):
            Unlabelled(f"folder:{folder}", classes, 0, 10)
    with pytest.raises(DatasetError, match="at least 30"):
        Unlabelled(f"folder:{folder}", ["cat", "dog"], 0, 30)


def test_too_few_first_labels_are_refused(tmp_path):
    with pytest.raises(ValueError, match="n_start=2 must be at least 3"):
        Session(tiny(), tmp_path / "me.jsonl", n_start=2)


# --- Where ledgers are kept ---


def test_the_same_choices_find_the_same_ledger_whatever_the_number_of_rounds(tmp_path):
    path = ledger_path(tmp_path, tiny(), "me")
    assert path == ledger_path(tmp_path, tiny(n_rounds=9), "me") and path.name.endswith("__me.jsonl")
    others = [
        ledger_path(tmp_path, tiny(n_query=6), "me"),
        ledger_path(tmp_path, tiny(seed=1), "me"),
        ledger_path(tmp_path, tiny()),
    ]
    assert len({path, *others}) == 4


def test_a_ledger_under_the_name_of_an_earlier_version_is_found(tmp_path):
    from al_utils.experiment import header
    from al_utils.ledger import Ledger
    from al_utils.problem import prepare

    config = tiny()
    old = tmp_path / f"{config.name}__{config.digest}__me.jsonl"
    with Ledger(old, header(prepare(config))):
        pass
    assert ledger_path(tmp_path, config, "me") == old and ledger_path(tmp_path, tiny(n_rounds=7), "me") == old
    assert ledger_path(tmp_path, config, "you") != old and ledger_path(tmp_path, tiny(n_query=6), "me") != old
