"""Sweeps: what is refused, what counts as finished, and what a failure of one run leaves alone."""

import ast
import errno
import fcntl
import json
import os
import re
import subprocess
import sys

import pytest
import yaml
from little_sweeps import BASE, NAME, experiment, ledgers, run, stamps, write_notebook, write_sweep

from al_utils.compute import cores
from al_utils.ledger import LedgerError, read_ledger
from al_utils.sweep import local, whole
from al_utils.sweep.grid import load_sweep
from al_utils.sweep.jobs import ROOT

# Sweep files


@pytest.mark.parametrize(
    "name, n",
    [("smoke", 2), ("quick", 54), ("matched", 90), ("many_seeds", 280)]
    + [("paper_constrained", 162), ("paper_ideal", 18), ("paper_ideal_fine", 18), ("paper_supervised", 6)],
)
def test_the_sweeps_of_the_project(name, n):
    runs = load_sweep(name).runs
    assert len({run.name for run in runs}) == len(runs) == n
    if name == "matched":
        assert {run.config.epochs for run in runs} == {100}
    if name.startswith("paper"):
        assert {run.config.protocol for run in runs} == {"paper"}
    if name == "paper_constrained":
        assert {(run.config.n_initial, run.config.n_query, run.config.n_rounds) for run in runs} == {(100, 10, 100)}


def test_a_name_holds_what_distinguishes_runs_and_no_more(tmp_path):
    tied = [{"model": ["lenet"], "epochs": [5]}, {"model": ["resnet18"], "epochs": [2]}]
    names = [run.name for run in load_sweep(write_sweep(tmp_path, seed=[0], epochs=[3, 4])).runs]
    assert names == ["mnist5k__lenet__random__none__seed-0__epochs-3", "mnist5k__lenet__random__none__seed-0__epochs-4"]
    path = tmp_path / "tied.yaml"
    path.write_text(yaml.safe_dump({"base": BASE, "grid": tied}))
    assert [run.name for run in load_sweep(path).runs] == [f"mnist5k__{m}__random__none__seed-0" for m in ("lenet", "resnet18")]


MANY = json.dumps({name: list(range(1, 1_001)) for name in ("seed", "split_seed", "epochs", "batch_size")})


@pytest.mark.parametrize(
    "text, message",
    [
        ("grid: {sed: [0]}", "'sed'; did you mean 'seed'"),
        ("base: {epoch: 3}\ngrid: {seed: [0]}", "'epoch'; did you mean 'epochs'"),
        ("grids: {seed: [0]}", "'grids'; did you mean 'grid'"),
        ("base: {lr: 1e-3}\ngrid: {seed: [0]}", "must be float. YAML reads 1e-3 as text"),
        ("grid: {epochs: [0]}", "epochs=0 is too small"),
        ("grid: {seed: 0}", "seed=0 must be a list"),
        ("grid: {seed: []}", "must be a list of at least one value"),
        ("grid: {seed: [0, 0]}", "two runs are named mnist5k__lenet__random__none__seed-0"),
        ("grid: {dataset: ['folder:a/x', 'folder:b/x']}", "two runs are named folder-x__"),
        ("grid: {seed: [0], seed: [1]}", "seed is given twice"),
        ("base: {}", "grid one of parameters to lists"),
        ("grid: []", "grid one of parameters to lists"),
        ("grid: {1: [0]}", "unknown parameter 1"),
        ("seed", "a mapping with base and grid"),
        ("", "a mapping with base and grid"),
        ("grid: {seed: [0]}\ntimeout: soon", "timeout='soon' must be a number"),
        ("grid: {seed: [0", "is not YAML"),
        ("grid: {seed: &a [0], split_seed: *a}", "aliases are not allowed, but *a stands"),
        ("a: &a [" + "x, " * 9 + "]\nb: &b [" + "*a, " * 9 + "]\nc: [" + "*b, " * 9 + "]", "aliases are not allowed"),
        ("grid: &a {seed: [*a]}", "aliases are not allowed"),
        ("[" * 2_000, "nested too deeply"),
        (f"grid: {MANY}", "grid describes 1,000,000,000,000 runs, but at most 100,000 are allowed"),
    ],
)
def test_bad_sweep_files_are_refused(tmp_path, text, message):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises((ValueError, TypeError), match=re.escape(message)):
        load_sweep(path)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["quik"], "did you mean 'quick'"),
        (["none.yaml"], "there is no sweep file none.yaml"),
        (["smoke", "--workers", "0"], "--workers=0 must be above 0"),
    ],
)
def test_the_command_line_refuses_in_one_line(tmp_path, arguments, message):
    status, said = run(tmp_path, *arguments)
    assert status == 2 and said.startswith("error: ") and message in said and said.count("\n") == 1
    assert not (tmp_path / "reports").exists()


def test_what_the_data_or_the_strategies_do_not_have_is_refused_before_the_start(tmp_path):
    for bad, message in [
        (dict(n_valid=4_000), "4,000"),
        (dict(strategy="bold"), "did you mean 'bald'"),
        (dict(model="lenett"), "did you mean 'lenet'"),
    ]:
        with pytest.raises(ValueError, match=message):
            whole.run_sweep(write_sweep(tmp_path, base=BASE | bad), reports=tmp_path)
    assert stamps(tmp_path / "little") == {}


@pytest.mark.parametrize("name", ["a\nb.yaml", ".hidden.yaml"])
def test_names_that_make_no_folder_are_refused(tmp_path, name):
    (tmp_path / name).write_text("grid: {seed: [0]}")
    with pytest.raises(ValueError, match="must not begin with a dot or hold a line break: rename it") as refused:
        load_sweep(tmp_path / name)
    assert "\n" not in str(refused.value)


def test_a_sweep_can_be_json(tmp_path):
    content = {"base": BASE, "grid": {"lr": [1e-3], "seed": [0, 1]}}
    (tmp_path / "own.json").write_text(json.dumps(content))
    assert load_sweep(tmp_path / "own.json").runs == load_sweep(write_sweep(tmp_path, lr=[1e-3], seed=[0, 1])).runs
    (tmp_path / "own.json").write_text('{"grid": {"seed": [0], "seed": [1]}}')
    with pytest.raises(ValueError, match="seed is given twice. Keep one"):
        load_sweep(tmp_path / "own.json")
    (tmp_path / "own.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match="nested too deeply"):
        load_sweep(tmp_path / "own.json")
    (tmp_path / "own.json").write_text("{")
    with pytest.raises(ValueError, match="own.json is not JSON"):
        load_sweep(tmp_path / "own.json")


# Where it runs


def test_cores_that_are_allowed_decide(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    limit = cores.container_limit
    for text, allowed in (("max 100000", 6), ("250000 100000", 3), ("50000 100000", 1), ("9900000 100000", 6), ("", 6)):
        (tmp_path / "cpu.max").write_text(text)
        monkeypatch.setattr(cores, "container_limit", lambda: limit(tmp_path))
        assert cores.allowed_cores() == allowed, text
    (tmp_path / "cpu.max").unlink()
    (tmp_path / "cpu").mkdir()
    for quota, allowed in ((-1, 6), (200_000, 2)):
        (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(f"{quota}\n")
        (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
        assert cores.allowed_cores() == allowed


def test_a_link_and_what_is_beside_it_are_one_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(local, "compute", lambda *_: (job for job in ()))
    (tmp_path / "far" / "away").mkdir(parents=True)
    (tmp_path / "link").symlink_to("far/away")
    whole.run_sweep(write_sweep(tmp_path), reports=tmp_path / "link" / ".." / "R", ledgers_only=True)
    assert (tmp_path / "far" / "R" / "little").exists() and not (tmp_path / "R").exists()


def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch, capsys):
    def flock(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    monkeypatch.setattr(local, "compute", lambda *_: (job for job in ()))
    whole.run_sweep(write_sweep(tmp_path), reports=tmp_path, ledgers_only=True)
    assert (
        f"The file system of {tmp_path / 'little'} cannot lock (No locks available): start no second" in capsys.readouterr().err
    )


def test_in_a_locale_without_unicode_files_are_utf_8(tmp_path):
    notebook = write_notebook(tmp_path / "report.ipynb", 'ledgers = ""', "print('n ≥ 3, Bär')")
    code = "import pathlib, sys; from al_utils.sweep import page; print(sys.getfilesystemencoding(), "
    code += f"page.make({notebook!r}, pathlib.Path({str(tmp_path / 'out')!r}), {{}}, 100))"
    plain = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=os.environ | plain, text=True, capture_output=True)
    assert done.stdout == "ascii \n", done
    assert "n ≥ 3, Bär" in (tmp_path / "out.html").read_text(encoding="utf-8")


def test_every_file_of_text_is_opened_as_utf_8():
    """Python itself finds what depends on the locale: in the package, in what starts it, wherever a path is read."""
    for path in [*(ROOT / "al_utils").rglob("*.py"), ROOT / "start.py"]:
        for call in (node for node in ast.walk(ast.parse(path.read_bytes())) if isinstance(node, ast.Call)):
            name = getattr(call.func, "attr", getattr(call.func, "id", ""))
            if name in ("read_text", "write_text") or (name == "open" and isinstance(call.func, ast.Name)):
                mode = call.args[1].value if name == "open" and len(call.args) > 1 else ""
                by_position = len(call.args) == {"read_text": 1, "write_text": 2}.get(name)
                given = by_position or "b" in mode or any(keyword.arg == "encoding" for keyword in call.keywords)
                assert given, f"{path.relative_to(ROOT)}:{call.lineno} opens text in the encoding of the locale"


# Whole sweeps, on a local cluster


FAULTS = {1: "sys.exit(0)", 2: "raise ValueError('no luck')", 3: "os.kill(os.getpid(), 9)", 4: "time.sleep(600)"}


def test_failures_do_not_stop_a_sweep_and_what_is_finished_is_left_alone(tmp_path, undisturbed):
    file, results = write_sweep(tmp_path, seed=[0, 1, 2, 3, 4]), tmp_path / "reports" / "little"
    experiment(tmp_path, f"if round == 1 and seed: exec({FAULTS}[seed])")
    status, said = run(tmp_path, file, "--workers", 2, "--timeout", 15)
    errors = [
        "SystemExit: cell 3",
        "ValueError: no luck",
        "DeadKernelError",
        "TimeoutError: not finished after the limit of 15",
    ]
    for seed, error in enumerate(errors, start=1):
        assert f"FAILED {NAME}{seed}: {error}" in said and f"{NAME}{seed}.failed.ipynb" in said, said
    assert status == 1 and "Traceback" not in said
    assert "Dask dashboard: http://127.0.0.1" in said and "done 1  failed 4  running 0  of 5 runs" in said
    html = (results / "report.html").read_text()
    assert "ledgers: 5 &lt;script&gt;" in html and "glob" not in html  # escaped, and no code
    assert not re.search(r"<script|(src|href)=.https?:", html)

    experiment(tmp_path)
    before = stamps(results)
    status, said = run(tmp_path, file, "--workers", 2)
    changed = {name for name, stamp in stamps(results).items() if before.get(name) != stamp}
    again = {f"{NAME}{seed}.{ending}" for seed in FAULTS for ending in ("ipynb", "jsonl")}
    assert status == 0 and changed == again | {"report.ipynb", "report.html"}
    assert ledgers(results) == undisturbed and not list(results.glob("*.failed.ipynb"))

    before = stamps(results)
    status, said = run(tmp_path, file)
    assert status == 0 and "Nothing to do" in said and stamps(results) == before

    with pytest.raises(LedgerError, match=r"epochs=1, not epochs=2.*--force starts over, --reports DIR"):
        whole.run_sweep(write_sweep(tmp_path, base=BASE | {"epochs": 2}), reports=tmp_path / "reports")
    assert stamps(results) == before
    write_sweep(tmp_path, base=BASE | {"epochs": 2}, seed=[0])
    assert run(tmp_path, file, "--force")[0] == 0
    assert read_ledger(results / f"{NAME}0.jsonl")[0]["config"]["epochs"] == 2


def test_results_that_came_with_the_project_are_the_sweeps_results(tmp_path, undisturbed):
    """Ledgers without notebooks, from elsewhere: they are shown and reported, nothing is computed anew; --force does."""
    file, results = write_sweep(tmp_path, seed=[0, 1]), tmp_path / "reports" / "little"
    experiment(tmp_path)
    assert run(tmp_path, file, "--workers", 2)[0] == 0
    for path in results.glob("*seed-?.ipynb"):
        path.unlink()
    (results / "report.html").write_text("shipped")
    before = stamps(results)
    report = results / "report.html"
    experiment(tmp_path, "raise SystemExit('computed')")
    status, said = run(tmp_path, file, "--workers", 2)
    after = stamps(results)
    assert status == 0 and {name: after[name] for name in before if name.endswith(".jsonl")}.items() <= before.items(), said
    assert "ledgers: 2" in report.read_text(encoding="utf-8") and ledgers(results).items() <= undisturbed.items()
    status, said = run(tmp_path, file, "--force")
    assert status == 1 and "computed" in said
    assert report.exists()  # a report stays until there is another
