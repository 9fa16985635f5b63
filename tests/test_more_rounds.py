"""More rounds for a 04 session that has ended: what was answered is kept, and it goes on to what a longer one would be."""

from dataclasses import asdict

from conftest import tiny, wait_for
from test_labelling import asked, own_session, press

from al_utils import read_ledger
from al_utils.person import FIRST, read_answers
from al_utils.widgets.labeller import Labeller
from al_utils.widgets.ledger_paths import ledger_path


def label_to_the_end(panel, label):
    """Start, answer all that is asked, hand in each batch, to the end of the session: the rounds that were asked."""
    begun = []
    panel._start()
    while True:
        wait_for(lambda: panel.job.over or panel.desk.state["image"] is not None or panel.desk.state["can_submit"])
        if panel.job.over:
            break
        person = panel.session.person
        begun += [person.round.round] if person.round.round not in begun else []
        if panel.desk.state["can_submit"]:
            panel._act(None, {"submit": True}, [])
            wait_for(lambda number=begun[-1], person=person: not person.round or person.round.round != number)
        elif (image := panel.desk.state["image"]) is not None:
            press(panel, label(panel.session, image))
    assert panel.job.wait(60) and "Done." in panel.status.value, panel.status.value
    return begun


def ledger_of(path):
    """Header and rounds without what differs from one time to another."""
    head, rounds = read_ledger(path)
    return head["config"], head["initial"], [asdict(r) | {"seconds": 0} for r in rounds]


def of_digit(session, image):
    """Wrong for every third image."""
    return str((int(session.problem.dataset.train_labels[image]) + (image % 3 == 0)) % 10)


def test_a_session_with_more_rounds_is_what_it_would_have_been_from_the_start(tmp_path):
    short, longer = (tiny(strategy="max_entropy", n_rounds=n) for n in (1, 3))
    path = ledger_path(tmp_path, short, "me")
    assert label_to_the_end(Labeller(short, path, grace=0), of_digit) == [0]
    first, kept = read_ledger(path)[1][0], read_answers(path.with_suffix(".answers"))

    assert ledger_path(tmp_path, longer, "me") == path
    panel = Labeller(longer, path, grace=0)
    assert not panel.session.finished and "5 answers are handed in, 0 more are saved" in panel.status.value
    assert label_to_the_end(panel, of_digit) == [1, 2]
    answers = read_answers(path.with_suffix(".answers"))
    assert answers[:5] == kept and [a.round for a in answers[5:]] == [1] * 5 + [2] * 5
    config, _, rounds = ledger_of(path)
    assert config["n_rounds"] == 3 and [r["n_labels"] for r in rounds] == [20, 25, 30, 35]
    assert rounds[0]["queried"] == first.queried and rounds[0]["labels"] == first.labels
    assert [r["labels"] for r in rounds[:3]] == [[int(of_digit(panel.session, i)) for i in r["queried"]] for r in rounds[:3]]

    at_once = ledger_path(tmp_path / "at once", longer, "me")
    assert label_to_the_end(Labeller(longer, at_once, grace=0), of_digit) == [0, 1, 2]
    assert ledger_of(path) == ledger_of(at_once)


def test_first_labels_of_own_images_are_not_asked_again(image_folder, tmp_path):
    folder, path = image_folder({"any": 30}), tmp_path / "me.jsonl"

    def label(session, image):
        return ("ape", "dog")[int(session.person.keys.files[image].split("/")[1].removesuffix(".png")) % 2]

    assert label_to_the_end(own_session(folder, path, ["ape", "dog"]), label) == [FIRST, 0]
    before, kept = ledger_of(path), read_answers(path.with_suffix(".answers"))
    panel = own_session(folder, path, ["ape", "dog"], n_rounds=3)
    assert label_to_the_end(panel, label) == [1, 2]
    after, answers = ledger_of(path), read_answers(path.with_suffix(".answers"))
    assert answers[: len(kept)] == kept and [a.round for a in answers[len(kept) :]] == [1] * 3 + [2] * 3
    assert after[1] == before[1] and after[2][0] == before[2][0]
    queried = [image for r in after[2] for image in r["queried"]]
    assert len(queried) == len(set(queried)) == 9 and [r["n_labels"] for r in after[2]] == [
        after[2][0]["n_labels"] + 3 * k for k in range(4)
    ]


def test_fewer_rounds_take_nothing_from_a_session(tmp_path):
    path = tmp_path / "me.jsonl"
    panel = Labeller(tiny(strategy="max_entropy", n_rounds=2), path, grace=0)
    panel._start()
    asked(panel)
    panel._stop()
    assert panel.job.wait(60)
    panel = Labeller(tiny(strategy="max_entropy", n_rounds=1), path, grace=0)
    assert "The session keeps the 2 batches it began with; Stop ends it sooner." in panel.status.value
    assert label_to_the_end(panel, of_digit) == [0, 1]
    before = path.read_bytes()
    panel = Labeller(tiny(strategy="max_entropy", n_rounds=1), path, grace=0)
    assert panel.session.finished and "All batches are labelled" in panel.desk.state["text"]
    assert label_to_the_end(panel, of_digit) == [] and path.read_bytes() == before
