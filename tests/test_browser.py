"""01 and 03 in JupyterLab, used as a person would in a real browser."""

import re

import pandas as pd
import pytest
from in_browser import ledgers, wait_until


def test_explore(notebook, house):
    nb, folder = notebook("01_explore_strategies"), house / "reports/runs/explore"
    nb.run_all()
    nb.await_status("6 rounds are done")
    assert [len(rounds) for rounds in ledgers(folder).values()] == [2, 2, 2]
    assert nb.page.get_by_alt_text("Learning curves: test accuracy").count() == 1

    # With the defaults, but a seed of which nothing is done yet.
    nb.fill("seed", 1)
    nb.button("▶ Run").click()
    nb.page.get_by_text("The learning curves appear here").wait_for()
    nb.page.get_by_alt_text("Learning curves: test accuracy").last.wait_for()
    assert nb.button("▶ Run").is_disabled() and nb.field("seed").is_disabled()

    # While it trains, the kernel answers: the metric can be changed.
    nb.field("curve of").select_option("validation accuracy")
    nb.page.get_by_alt_text("Learning curves: validation accuracy").wait_for()
    nb.see(re.compile("BALD, round 0: the first 6 of 10"))
    nb.button("■ Stop").click()
    nb.await_status("Stopped")
    done = [len(rounds) for name, rounds in ledgers(folder).items() if "seed-1" in name]
    assert 3 <= sum(done) < 33 and max(done) - min(done) <= 1
    assert nb.page.get_by_text(f"{sum(done)} of 33").is_visible()
    nb.both_themes("stopped")

    # Run goes on from there, with the keyboard this time.
    nb.button("▶ Run").focus()
    nb.page.keyboard.press("Enter")
    wait_until(lambda: sum(len(r) for n, r in ledgers(folder).items() if "seed-1" in n) > sum(done) + 1)
    nb.button("■ Stop").focus()
    nb.page.keyboard.press("Space")
    nb.await_status("Stopped")
    assert nb.page.locator(".jp-CodeCell").count() >= 3  # the keys went to the buttons

    # Every other control: a small run to its end, with two strategies.
    nb.page.get_by_label("max. entropy").uncheck()
    nb.field("model").select_option("LeNet")
    nb.field("noise").select_option("Gaussian noise")
    nb.field("protocol").select_option("paper")
    for label, value in {"initial labels": 50, "queries a round": 5, "rounds": 2, "epochs": 3, "validation images": 50}.items():
        nb.fill(label, value)
    nb.button("▶ Run").click()
    nb.await_status("Done.")
    small = {name: rounds for name, rounds in ledgers(folder).items() if "gaussian__seed-1" in name}
    assert sorted(name.split("__")[2] for name in small) == ["bald", "random"]
    assert all([r.n_labels for r in rounds] == [50, 55, 60] for rounds in small.values())
    nb.see("6 of 6")
    nb.screenshot("done")

    # Mistakes are said in words.
    nb.fill("queries a round", 0)
    nb.button("▶ Run").click()
    nb.await_status("⚠ queries a round is 0, but must be at least 1.")
    nb.fill("queries a round", 5)
    nb.fill("data set", "mnist6k")
    nb.button("▶ Run").click()
    nb.await_status("⚠ dataset='mnist6k' is not known; did you mean 'mnist5k'?")
    for name in ("random", "BALD"):
        nb.page.get_by_label(name, exact=True).uncheck()
    nb.button("▶ Run").click()
    nb.await_status("⚠ No strategy is chosen")
    nb.screenshot("mistake")

    # A restarted kernel gives a working notebook again.
    nb.run_all("Kernel", "Restart Kernel and Run All Cells")
    nb.await_status("6 rounds are done")


def test_inspect(notebook, house):
    nb = notebook("03_inspect_queries", "03_own", ledgers="")
    nb.run_all()
    nb.see("so this notebook made a small sweep of its own")
    runs = ledgers(house / "reports/runs/inspect")
    assert len(runs) == 3 and nb.page.get_by_text("recomputed exactly").count() >= 2
    panel = nb.page.locator(".jp-OutputArea-output", has=nb.button("Save CSV and PNG")).last
    nb.await_status("Predictions recomputed")
    panel.get_by_text("recomputed exactly").nth(1).wait_for()
    slider = panel.get_by_role("slider").first
    slider.scroll_into_view_if_needed()
    nb.both_themes("round")

    # The slider by keyboard.
    bald = next(rounds for name, rounds in runs.items() if "bald" in name)
    slider.focus()
    nb.page.keyboard.press("ArrowRight")
    for image in bald[2].queried:
        panel.get_by_text(f"image {image}", exact=False).first.wait_for()
    assert panel.get_by_text("BALD, round 2: 10 queries after 120 labels").is_visible()
    nb.await_status("Predictions recomputed")
    nb.field("beside it").select_option("random")
    panel.get_by_text("random, round 2: 10 queries").wait_for()
    nb.await_status("Predictions recomputed")
    nb.button("Save CSV and PNG").click()
    nb.see("Saved mnist5k__lenet__bald__gaussian__seed-0")
    table = pd.read_csv(next((house / "reports/runs/exports").glob("*bald*round-2.csv")))
    mine = table[table.strategy == "bald"]
    assert mine.image.tolist() == bald[2].queried and mine.score.tolist() == pytest.approx(bald[2].scores, rel=1e-12)
    assert ((mine.total - mine.aleatoric - mine.epistemic).abs() < 1e-9).all()
    assert mine.epistemic.tolist() == pytest.approx(bald[2].scores, abs=1e-9)  # BALD is the epistemic part
    assert next((house / "reports/runs/exports").glob("*bald*round-2.png")).read_bytes().startswith(b"\x89PNG")
    nb.field("only").select_option("noisy images")
    panel.get_by_text(f"Shown: noisy images, {sum(bald[2].noisy)} of 10").wait_for()
    nb.field("only").select_option("all queries")
    nb.field("predictions (trains the network of the round again)").uncheck()
    nb.await_status("From the ledger alone.")

    nb.page.get_by_role("tab", name="Who queried what").click()
    nb.field("queried by").select_option("only BALD")
    slider.focus()
    nb.page.keyboard.press("End")
    asked = {name.split("__")[2]: {i for r in rounds for i in r.queried} for name, rounds in runs.items()}
    only = asked["bald"] - asked["random"] - asked["max_entropy"]
    panel.get_by_text(f"Queried by only BALD up to round 5: {len(only)} of").wait_for()
    nb.button("Save CSV and PNG").click()
    nb.see(re.compile("Saved .*who-5"))
    assert set(pd.read_csv(next((house / "reports/runs/exports").glob("*who-5__by-bald.csv"))).image) == only
    nb.screenshot("who")

    nb.page.get_by_role("tab", name="Over all rounds").click()
    panel.get_by_alt_text("Share of noisy images over the rounds").wait_for()
    nb.field("share of").select_option("class 3")
    panel.get_by_alt_text("Share of class 3 over the rounds").wait_for()
    nb.button("Save CSV and PNG").click()
    nb.see(re.compile("Saved .*shares__class-3"))
    nb.both_themes("shares")

    # What is trained again, each at the press of a button.
    nb.page.get_by_role("tab", name="The network").click()
    nb.press("Train the network of this round again", "Training the network of|Trained again")
    panel.get_by_alt_text("Map of the pool").wait_for()
    nb.press("Over the rounds", r"Training the networks of \d rounds")
    panel.get_by_alt_text("Confusion matrices and reliability diagrams over the rounds").wait_for()
    nb.screenshot("network")
    nb.page.get_by_role("tab", name="Doubtful labels").click()
    nb.press("Rank the labels up to this round", "Training four networks|labels are likely wrong")
    panel.get_by_text(re.compile(r"\d+ of 150 labels are likely wrong")).wait_for()
    nb.screenshot("doubts")
    nb.page.get_by_role("tab", name="One image").click()
    nb.fill("image", bald[3].queried[0])
    panel.get_by_role("cell", name="bald", exact=True).wait_for()
    nb.press("Follow it through the rounds", "Training the networks of the rounds|Followed")
    panel.get_by_alt_text(re.compile("through the rounds")).wait_for()
    nb.screenshot("image")

    # Another run, by a search.
    nb.field("search").fill("max_entropy")
    nb.see("1 of 3 runs")
    panel.get_by_role("listbox", name="run").select_option("MNIST-5k, LeNet, max. entropy, Gaussian noise, seed 0")
    nb.page.get_by_role("tab", name="This round").click()
    panel.get_by_text("max. entropy, round 5: 10 queries").wait_for()
    panel.get_by_text("Run 2 of 3: MNIST-5k, LeNet, max. entropy, Gaussian noise, seed 0").wait_for()
