"""Agreement of annotators, against published worked examples."""

import numpy as np
import pytest

from al_utils.labels.agreement import cohen_kappa, fleiss_kappa, said_of
from al_utils.person import Answer


def test_cohens_kappa_of_a_worked_example():
    """50 grant proposals read by two people: 20 twice yes, 15 twice no, 5 and 10 otherwise; kappa is 0.4."""
    pairs = [("yes", "yes")] * 20 + [("yes", "no")] * 5 + [("no", "yes")] * 10 + [("no", "no")] * 15
    assert cohen_kappa(*zip(*pairs)) == pytest.approx(0.4)
    assert cohen_kappa(["a", "b"], ["a", "b"]) == 1 and np.isnan(cohen_kappa(["a", "a"], ["a", "a"]))
    with pytest.raises(ValueError, match="2 and 1 labels"):
        cohen_kappa(["a", "b"], ["a"])


def test_fleiss_kappa_of_a_worked_example():
    """14 annotators, 10 subjects, 5 classes: the table of the encyclopedias' article on it; kappa is 0.210."""
    counts = np.array([[0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1], [7, 7, 0, 0, 0],
                       [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7]])  # fmt: skip
    assert fleiss_kappa(counts) == pytest.approx(0.210, abs=5e-4)
    with pytest.raises(ValueError, match="each image must have a label of each"):
        fleiss_kappa(np.array([[1, 1], [1, 0]]))


def test_what_is_said_of_sessions_counts_the_images_in_common():
    def session(labels):
        return [Answer(0, name, "", "label", label) for name, label in labels.items()]

    a, b, c = {"1": "x", "2": "y", "3": "x"}, {"1": "x", "2": "x", "4": "y"}, {"1": "x", "2": "y"}
    lines = said_of({"ann": session(a), "bob": session(b), "cy": session(c)})
    assert lines[0] == "ann and bob agree on 1 of 2 images (50%), Cohen's kappa 0.00."
    assert lines[1] == "ann and cy agree on 2 of 2 images (100%), Cohen's kappa 1.00."
    assert lines[3].startswith("All 3 have labelled 2 images, Fleiss' kappa 0.")
    assert said_of({"ann": session(a), "bob": session({"9": "x"})}) == ["ann and bob have labelled no image in common."]
