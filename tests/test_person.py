"""A person's answers: kept by the image's name and content and the class's name, whatever happens in between."""

import json
import threading

import pytest
from conftest import tiny, wait_for

from al_utils import read_ledger
from al_utils.experiment import run_experiment
from al_utils.image_keys import ImageKeys, keys_of_dataset
from al_utils.ledger import LedgerError, Round
from al_utils.person import FIRST, IMPORTED, Answer, Person, Stopped, append_answers, held, read_answers
from al_utils.problem import prepare

CONTENT = {"a.png": b"ape", "b.png": b"bat", "c.png": b"cat"}


def keys(names=("a.png", "b.png", "c.png"), content=CONTENT):
    return ImageKeys(list(names), lambda i: content[names[i]])


def asking(person, queried=(0, 1, 2), number=0):
    """The thread in which the person is asked, and the list that its answers go into."""
    answers = []

    def ask():
        try:
            answers.extend(person.answer(Round(number, 10, {}, list(queried)), 0))
        except Stopped:
            answers.append("stopped")

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    wait_for(lambda: person.round)
    return thread, answers


def test_a_person_answers_undoes_skips_and_comes_back(tmp_path):
    config, path = tiny(strategy="bald", n_rounds=1), tmp_path / "me.answers"
    dataset = prepare(config).dataset

    def session(act):
        person, rounds = Person(path, keys_of_dataset(dataset), dataset.class_names, "mnist5k"), []

        def run():
            try:
                rounds.extend(run_experiment(config, tmp_path / "run.jsonl", person))
            except Stopped:
                pass

        thread = threading.Thread(target=run)
        thread.start()
        wait_for(lambda: person.round)
        act(person)
        thread.join(20)
        assert not thread.is_alive()
        return rounds

    def first(person):
        images = list(person.round.queried)
        person.give(images[1], "label", "1")  # not the one that is shown: a key pressed twice
        assert person.pending() == images and read_answers(path) == []
        person.give(images[0], "label", "4", 0.5)
        [kept] = read_answers(path)  # on disk at once
        assert (kept.file, kept.label, kept.seconds) == (f"mnist5k {images[0]}", "4", 0.5)
        person.give(images[1], "skip")
        person.undo()
        assert person.pending() == images[1:]
        person.submit()  # too early
        person.stop()

    def second(person):
        assert len(person.pending()) == 4
        for image, answer in zip(person.pending(), ["skip", "2", "unrecognisable", "9"]):
            person.give(image, *(["label", answer] if len(answer) == 1 else [answer]))
        person.undo()
        person.give(person.pending()[0], "label", "8")
        person.submit()

    assert session(first) == [] and read_ledger(tmp_path / "run.jsonl")[1] == []
    path.write_bytes(path.read_bytes() + b'{"round": 0, "im')  # torn by a crash
    rounds = session(second)
    assert rounds[0].labels == [4, None, 2, None, 8] and rounds[1].n_labels == 23


def test_answers_belong_to_files_and_names_whatever_their_order(tmp_path):
    """The classes in another order, and a file more: positions would give other labels to other images."""
    person = Person(tmp_path / "me.answers", keys(), ["ape", "cat"])
    asking(person)
    for image in (0, 1, 2):
        person.give(image, "label", "cat")
    more = CONTENT | {"0.png": b"new"}
    again = Person(tmp_path / "me.answers", keys(("0.png", "a.png", "b.png", "c.png"), more), ["cat", "dog", "ape"])
    thread, answers = asking(again, (0, 1, 2, 3))
    assert again.pending() == [0] and again.passed_over() == 0
    again.give(0, "label", "dog")
    again.submit()
    thread.join(20)
    assert answers == [1, 0, 0, 0]


def test_an_answer_to_an_image_that_has_changed_is_not_used_and_said(tmp_path):
    person = Person(tmp_path / "me.answers", keys(), ["ape", "cat"])
    asking(person)
    person.give(0, "label", "ape")
    person.give(1, "label", "cat")
    again = Person(tmp_path / "me.answers", keys(content=CONTENT | {"a.png": b"another"}), ["ape", "cat"])
    asking(again)
    assert again.pending() == [0, 2] and again.passed_over() == 1


def test_answers_of_a_class_that_is_none_are_refused(tmp_path):
    append_answers(tmp_path / "me.answers", [Answer(0, "a.png", "0" * 16, "label", "ape")])
    with pytest.raises(LedgerError, match="class 'ape', which is none of cat, dog"):
        Person(tmp_path / "me.answers", keys(), ["cat", "dog"])


def test_answers_by_position_of_an_earlier_version_are_refused_in_a_sentence(tmp_path):
    path = tmp_path / "me.answers"
    path.write_text('{"round": 0, "image": 3, "answer": 1, "seconds": 0.5}\n')
    with pytest.raises(LedgerError, match="by position, as earlier versions did.*Rename it"):
        Person(path, keys(), ["cat", "dog"])


@pytest.mark.parametrize(
    "line", ["nonsense", "[]", "3", '{"round": 0}', '{"round": 0, "file": "a", "digest": "b", "kind": "x"}']
)
def test_corrupted_answers_are_refused_by_line(tmp_path, line):
    path = tmp_path / "me.answers"
    append_answers(path, [], "folder:x")
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(LedgerError, match="line 2 is corrupted"):
        Person(path, keys(), ["cat", "dog"])


def test_handing_in_can_be_taken_back_until_the_next_round(tmp_path):
    person = Person(tmp_path / "me.answers", keys(), ["ape", "cat"], grace=60)
    thread, answers = asking(person, (0,))
    person.give(0, "label", "ape")
    person.submit()
    wait_for(lambda: person.handed_in)
    person.give(0, "label", "cat")  # nothing is asked now
    person.undo()
    assert not person.handed_in and person.round and not answers
    person.undo()
    person.give(0, "label", "cat")
    person.submit()
    person.submit()  # the second time is for good
    thread.join(20)
    assert answers == [1] and person.round is None


def test_what_was_labelled_elsewhere_is_known_and_can_be_said_otherwise(tmp_path):
    path, k = tmp_path / "me.answers", keys()
    append_answers(path, [Answer(IMPORTED, *k(image), "label", "ape") for image in (0, 1)])
    person = Person(path, k, ["ape", "cat"])
    thread, answers = asking(person)
    assert person.pending() == [2]
    person.relabel(Answer(0, *k(1), "label", "ape"), "label", "cat")
    person.give(2, "label", "cat")
    person.submit()
    thread.join(20)
    assert answers == [0, 1, 1]


def test_the_last_answer_holds():
    steps = [Answer(FIRST, "a", "1", "label", "x"), Answer(0, "b", "1", "skip"), Answer(FIRST, "a", "1", "undo"),
             Answer(0, "b", "1", "label", "y")]  # fmt: skip
    assert [(a.file, a.label) for a in held(steps).values()] == [("b", "y")]
    assert json.dumps(steps[0].__dict__)
