"""The network of a round, trained on the labels so far, and what it is worth on images that it has not seen."""

from functools import partial

from torch import Tensor

from . import models
from .known import Outputs, State
from .networks.classifier import Classifier
from .networks.recipes import Augmented
from .noise import Images
from .predicting import evaluate
from .problem import Problem, after
from .randomness import generator
from .training import fit


def train_model(problem: Problem, number: int, labelled: Tensor) -> tuple[Classifier, float]:
    """The network of a round, trained on the images at `labelled`, and its training loss.

    It is newly initialised; with `warm_start` it begins with the weights of the round before, see `weights_before`.
    """
    start = weights_before(problem, number) if problem.config.warm_start and number else None
    return _train_from(start, problem, number, labelled)


def weights_before(problem: Problem, number: int) -> State:
    """The weights that the round before `number` ended with; where they are not at hand, all rounds so far train again."""
    if len(problem.before) < number:
        raise ValueError(f"round {number} with warm_start needs the rounds before it: take the problem from `after`.")
    start = None
    for earlier in reversed(range(number)):  # what is at hand is the last round's, as a rule
        now, labelled = after(problem, list(problem.before[:earlier]))
        if (start := problem.known.weights(_key(now, earlier, labelled))) is not None:
            break
    for again in range(earlier + 1 if start else 0, number):
        now, labelled = after(problem, list(problem.before[:again]))
        start = _train_from(start, now, again, labelled)[0].state_dict()
    assert start is not None
    return start


def _key(problem: Problem, number: int, labelled: Tensor) -> tuple:
    """What fixes the network of a round, beside the configuration and the data."""
    return number, labelled.tolist(), problem.train_labels[labelled.to(problem.train_labels.device)].tolist()


def _train_from(start: State | None, problem: Problem, number: int, labelled: Tensor) -> tuple[Classifier, float]:
    c, rng = problem.config, partial(generator, problem.config.seed, round=number)
    model = models.build_model(
        c.model, problem.dataset.train_images.shape, len(problem.dataset.class_names), rng("initialisation"), c.device
    )
    if start:
        model.load_state_dict(start)
    images = problem.train.redrawn(rng("noise in training", device=problem.train.pixels.device))
    on_labelled, on_valid = labelled.to(c.device), problem.split.valid.to(c.device)
    part, seen = (model, images) if c.augmentation != "none" else seen_by(model, images, problem)
    train = seen.take(on_labelled)
    if c.augmentation != "none":
        train = Augmented(train, c.augmentation, rng("augmentation"))
    valid = seen.take(on_valid), problem.train_labels[on_valid]
    train_loss = fit(part, train, problem.train_labels[on_labelled], c, rng("batches"), valid)
    if c.warm_start:
        problem.known.keep_weights(_key(problem, number, labelled), model)
    return model, train_loss


def seen_by(model: Classifier, images: Images, problem: Problem) -> tuple[Classifier, Images | Outputs]:
    """What is to be computed with, and on: the network and the images, or where the trunk is frozen, its head and outputs."""
    lasting = any(images is own for own in (problem.train, problem.test, problem.test_clean))  # not redrawn for this time
    return problem.known.behind_trunk(model, images) if model.frozen and lasting else (model, images)


def measure(problem: Problem, number: int, model: Classifier) -> dict[str, float]:
    """Validation accuracy; accuracy, NLL and ECE on the test images as configured; accuracy on the clean ones.

    Without validation images there is no validation accuracy.
    """
    p = problem
    rng = generator(p.config.seed, "noise in evaluation", number, p.train.pixels.device)
    on_valid = {}
    if p.config.n_valid:
        valid = p.split.valid.to(p.config.device)
        part, train = seen_by(model, p.train.redrawn(rng), p)
        on_valid = {"valid_accuracy": evaluate(part, train.take(valid), p.train_labels[valid])["accuracy"]}
    on_test = evaluate(*seen_by(model, p.test.redrawn(rng), p), p.test_labels)
    on_clean = on_test if not p.test.has_noise else evaluate(*seen_by(model, p.test_clean, p), p.test_labels)
    return on_valid | {
        "test_accuracy": on_test["accuracy"],
        "test_accuracy_clean": on_clean["accuracy"],
        "test_nll": on_test["nll"],
        "test_ece": on_test["ece"],
    }
