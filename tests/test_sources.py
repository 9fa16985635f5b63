"""The hash of what somebody registers: another source, another hash; the same source, the same, in any process."""

import functools
import linecache

import pytest
from conftest import tiny

from al_utils import acquisition, checks, models, run_experiment, sources
from al_utils.datasets import load_dataset
from al_utils.ledger import LedgerError, read_ledger, read_ledgers
from al_utils.results import replay

CELLS = iter(range(1_000))


def cell(source, **names):
    """What the cell of a notebook leaves behind."""
    name = f"<cell {next(CELLS)}>"
    linecache.cache[name] = len(source), None, source.splitlines(keepends=True), name
    exec(compile(source, name, "exec"), scope := {"__name__": "__main__"} | names)
    return scope


def function(source, **names):
    return cell(source, **names)["f"]


def test_another_source_is_another_hash():
    one = function("def f(x):\n    return x + 1\n")
    assert sources.digest(one) == sources.digest(function("def f(x):\n    return x + 1\n"))
    assert sources.digest(one) != sources.digest(function("def f(x):\n    return x + 2\n"))
    assert sources.digest(one) != sources.digest(function("def f(x):\n    return -(x + 1)\n"))


def test_without_a_source_the_code_counts():
    def typed_in(text):
        exec(text, scope := {})
        return scope["f"]

    assert sources.digest(typed_in("def f(x): return x + 1")) == sources.digest(typed_in("def f(x): return x + 1"))
    assert sources.digest(typed_in("def f(x): return x + 1")) != sources.digest(typed_in("def f(x): return x + 2"))
    assert sources.digest(typed_in("f = lambda x: [x + 1 for x in x]")) != sources.digest(
        typed_in("f = lambda x: [x + 2 for x in x]")
    )


def test_what_it_closes_over_counts():
    def make(temperature):
        def f(x):
            return x / temperature

        return f

    assert sources.digest(make(2.0)) == sources.digest(make(2.0)) != sources.digest(make(3.0))
    f = make(2.0)
    assert sources.digest(functools.partial(f, 1)) != sources.digest(functools.partial(f, 2))


DECORATED = """
import functools
def twice(function):
    @functools.wraps(function)
    def wrapper(x):
        return {} * function(x)
    return wrapper
@twice
def f(x):
    return {}
"""


@pytest.mark.parametrize("changed", [(3, "x"), (2, "-x")])
def test_decorators_of_its_own_file_count(changed):
    one = function(DECORATED.format(2, "x"))
    assert sources.digest(one) == sources.digest(function(DECORATED.format(2, "x")))
    assert sources.digest(one) != sources.digest(function(DECORATED.format(*changed)))


def test_a_decorator_of_another_module_counts_as_little_as_before():
    plain = function("def f(x):\n    return x\n")
    cached = functools.lru_cache(plain)
    assert sources.digest(cached) == sources.digest(plain)


@pytest.mark.parametrize(
    "way", ["f = make(score)", "f = functools.partial(use, score)", "f = Scorer(1).score", "f = of_default"]
)
def test_functions_that_it_holds_count(way):
    source = """
import functools
def score(x):
    return {0}
def make(inner):
    def f(x):
        return inner(x)
    return f
def use(inner, x):
    return inner(x)
class Scorer:
    def __init__(self, sign):
        self.sign = sign
    def score(self, x):
        return {0}
def of_default(x, inner=score):
    return inner(x)
"""
    one = function(source.format("x") + way)
    assert sources.digest(one) == sources.digest(function(source.format("x") + way))
    assert sources.digest(one) != sources.digest(function(source.format("-x") + way))
    if "partial" in way:  # what is handed over of another module is not looked at
        other = way.replace("score", "len")
        assert sources.digest(function(source.format("x") + other)) == sources.digest(function(source.format("x") + other))
    if "Scorer" in way:
        assert sources.digest(one) != sources.digest(function(source.format("x") + way.replace("1", "-1")))


def test_what_it_uses_of_its_own_file_counts():
    source = (
        "SCALE = {}\ndef helper(x):\n    return {}\ndef f(x, shift={}, *, k={}):\n    return [helper(y) * SCALE for y in x]\n"
    )
    one = function(source.format(2, "x", 0, 1))
    assert sources.digest(one) == sources.digest(function(source.format(2, "x", 0, 1)))
    for changed in ((3, "x", 0, 1), (2, "-x", 0, 1), (2, "x", 5, 1), (2, "x", 0, 5)):
        assert sources.digest(one) != sources.digest(function(source.format(*changed)))
    mutable = function("CACHE = {}\ndef f(x):\n    return CACHE.setdefault(x, x)\n")
    before = sources.digest(mutable)
    mutable(1)
    assert sources.digest(mutable) == before
    around = function("def f(x):\n    return g(x)\ndef g(x):\n    return f(x) if x else 1\n")  # each other
    assert sources.digest(around) != sources.digest(function("def f(x):\n    return g(x)\ndef g(x):\n    return 1\n"))


CLASS = """
class f:
    width = {}
    def __init__(self):
        self.n = {}
    @staticmethod
    def s():
        {}
"""


def test_classes_and_objects():
    one = function(CLASS.format(3, 4, "pass"))
    assert sources.digest(one) == sources.digest(function(CLASS.format(3, 4, "pass")))
    for changed in ((5, 4, "pass"), (3, 5, "pass"), (3, 4, "return 1")):
        assert sources.digest(one) != sources.digest(function(CLASS.format(*changed)))
    assert sources.digest(one()) != sources.digest(function(CLASS.format(3, 9, "pass"))())
    below = "class g:\n    def m(self):\n        return {}\nclass f(g):\n    pass\n"
    assert sources.digest(function(below.format(1))) != sources.digest(function(below.format(2)))


def test_what_came_with_the_project_has_no_hash():
    assert sources.is_ours(acquisition.bald) and sources.is_ours(models.LeNet)
    assert not sources.is_ours(function("def f(): pass")) and not sources.is_ours(torch_module())
    assert checks.registered_sources(tiny(strategy="bald"), load_dataset("mnist5k")) == {}


def torch_module():
    from torch import nn

    return nn.Flatten


OWN = """
def mine(log_probs_K_N_C):
    return {}log_probs_K_N_C.double().exp().mean(0).amax(-1)
"""


@pytest.fixture
def registry(monkeypatch):
    monkeypatch.setattr(acquisition.registry, "_registry", dict(acquisition.registry._registry))
    return acquisition.registry._registry


def test_a_changed_function_neither_goes_on_nor_shows_what_another_one_did(tmp_path, registry):
    config, path = tiny(strategy="mine", n_rounds=1), tmp_path / "run.jsonl"
    acquisition.register(cell(OWN.format(""))["mine"])
    kept = list(run_experiment(config, path))
    acquisition.register(cell(OWN.format(""))["mine"])  # the cell runs again
    assert list(run_experiment(config, path)) == kept
    acquisition.register(cell(OWN.format("-"))["mine"])
    before = path.read_bytes()
    with pytest.raises(LedgerError, match="made with another strategy='mine': its source"):
        list(run_experiment(config, path))
    [run] = replay.recorded_runs(tmp_path)
    with pytest.raises(LedgerError, match="made with another strategy='mine'"):
        replay.recompute(run, 0)
    assert path.read_bytes() == before and len(read_ledger(path)[0]["registered"]["strategy"]) == 16


def test_a_ledger_of_a_strategy_that_is_not_registered_is_read_and_looked_at(tmp_path, registry):
    config = tiny(strategy="mine", n_rounds=1)
    acquisition.register(cell(OWN.format(""))["mine"])
    list(run_experiment(config, tmp_path / "run.jsonl"))
    del registry["mine"]
    assert read_ledgers(tmp_path).strategy.tolist() == ["mine", "mine"]
    [run] = replay.recorded_runs(tmp_path)
    assert len(run.problem.split.pool) == 3_960
    with pytest.raises(ValueError, match="strategy='mine' is not known"):
        replay.recompute(run, 0)
