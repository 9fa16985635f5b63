"""04 in JupyterLab, used as a person would in a real browser."""

import base64
import io

import numpy as np
import PIL.Image
from in_browser import ledgers, wait_until

from al_utils import ExperimentConfig, load_dataset, prepare, read_ledger
from al_utils.compute.machine import repeatable
from al_utils.experiment import run_round
from al_utils.person import read_answers
from al_utils.widgets.ledger_paths import ledger_path


def test_be_the_oracle(notebook, house):
    options = dict(n_query=6, n_rounds=2, epochs=40, simulated_rounds=1)
    nb = notebook("04_be_the_oracle", "04_small", **options)
    nb.run_all()
    nb.see("Press Start: the first image appears after the first training.")
    fields = dict(strategy="max_entropy", protocol="tuned", clip_norm=1.0, n_initial=50, n_query=6, n_rounds=2, n_valid=100,
                  epochs=40)  # fmt: skip
    config = ExperimentConfig.from_dict(fields)
    with repeatable():
        first = run_round(problem := prepare(config), 0, problem.split.initial)
    wrong = (first.true_classes[0] + 1) % 10
    ledger = ledger_path(house / "reports/runs/oracle", config, "me")
    answers = ledger.with_suffix(".answers")
    desk, cells = nb.page.locator(".al-desk"), nb.page.locator(".jp-Cell").count()

    def saved():
        return [answer.label or answer.kind for answer in read_answers(answers)]

    def at(position):
        nb.page.get_by_text(f"Round 1: image {position} of 6.").wait_for()

    nb.button("▶ Start").click()
    at(1)
    desk.get_by_text("undo").scroll_into_view_if_needed()
    nb.both_themes("asking")

    # On a small screen the image and all keys are seen at once.
    nb.page.set_viewport_size({"width": 800, "height": 600})
    desk.scroll_into_view_if_needed()
    desk.evaluate("desk => desk.scrollIntoView({block: 'center'})")
    nb.screenshot("small-screen")
    view = nb.page.locator(".jp-WindowedPanel-outer").first.bounding_box()
    for part in (desk.locator("img.al-desk-image"), desk.locator("button").first, desk.get_by_text("hand in")):
        box = part.bounding_box()
        assert view["y"] <= box["y"] and box["y"] + box["height"] <= view["y"] + view["height"], (view, box)
    nb.page.set_viewport_size({"width": 1250, "height": 1500})
    desk.click(position={"x": 5, "y": 5})
    for key in ("x", "d", "d", "ArrowUp", "Shift+L"):  # cut, delete and others: commands of JupyterLab
        nb.page.keyboard.press(key)
    nb.page.wait_for_timeout(300)
    assert nb.page.locator(".jp-Cell").count() == cells and saved() == []
    nb.page.keyboard.press(str(wrong))
    at(2)
    assert saved() == [str(wrong)]  # on disk before the next image is shown
    nb.page.keyboard.press("Backspace")
    at(1)
    nb.page.keyboard.press(str(wrong))
    at(2)
    nb.page.keyboard.press("-")
    at(3)
    nb.page.keyboard.press("?")
    at(4)
    assert saved() == [str(wrong), "undo", str(wrong), "skip", "unrecognisable"]

    # The page is closed without saving; what was answered is there when it is opened again.
    nb.page.context.close()
    nb = notebook("04_be_the_oracle", "04_small", **options)
    nb.run_all()
    nb.see("0 answers are handed in, 3 more are saved.")
    nb.button("▶ Start").click()
    at(4)
    desk = nb.page.locator(".al-desk")
    desk.get_by_role("button", name=str(first.true_classes[3]), exact=True).click()  # with the mouse
    at(5)
    nb.page.keyboard.press(str(first.true_classes[4]))  # the desk has the focus after a click
    at(6)
    nb.page.keyboard.press(str(first.true_classes[5]))
    nb.see("All 6 are answered: hand in, or undo.")
    assert read_ledger(ledger)[1] == []
    nb.screenshot("answered")
    nb.page.keyboard.press("Enter")  # handed in, taken back, handed in for good
    nb.see("Handed in. The network starts to learn in a few seconds.")
    nb.page.keyboard.press("Backspace")
    nb.see("All 6 are answered: hand in, or undo.")
    assert read_ledger(ledger)[1] == []
    nb.page.keyboard.press("Enter")
    nb.see("Handed in. The network starts to learn in a few seconds.")
    nb.page.keyboard.press("Enter")
    nb.see("Round 2: image 1 of 6.")
    assert nb.page.locator(".jp-OutputArea-output", has=nb.button("▶ Start")).last.get_by_text("Error rate").count() == 0
    given = [wrong, None, None, *first.true_classes[3:]]
    assert [r.labels for r in read_ledger(ledger)[1]] == [given]
    nb.button("■ Stop").click()
    nb.await_status("Stopped. 6 answers are handed in, 0 more are saved.")
    nb.button("▶ Start").click()
    nb.see("Round 2: image 1 of 6.")
    # Many at once: the class first, then its images.
    nb.field("show").select_option("many images in a grid")
    unanswered, answered = desk.get_by_alt_text("an image to label"), desk.get_by_alt_text("an image, answered 1")
    wait_until(lambda: unanswered.count() == 6)  # before, the key of a class answers the one image that is shown
    desk.get_by_role("button", name="1", exact=True).click()
    for k in range(6):
        unanswered.first.click()
        wait_until(lambda k=k: answered.count() > k)
        assert answered.count() == k + 1
    nb.both_themes("grid")
    desk.get_by_role("button", name="hand in").click()
    nb.see("Handed in. The network starts to learn in a few seconds.")
    nb.await_status("Done.")
    rounds = read_ledger(ledger)[1]
    assert [r.labels for r in rounds] == [given, [1] * 6, None] and [r.n_labels for r in rounds] == [50, 54, 60]
    results = nb.page.locator(".jp-OutputArea-output", has=nb.button("▶ Start")).last
    for topic in ("Error rate", "Seconds per label", "Final test accuracy", "What the errors cost"):
        results.get_by_text(topic).wait_for()
    assert "10 of 12 queried images" in results.text_content()
    nb.button("Compare with the true labels").click()
    nb.await_status("Done.")
    nb.button("Export").click()
    nb.await_status("10 labels and 2 answers without one, written to")
    results.get_by_text("What the errors cost").scroll_into_view_if_needed()
    nb.both_themes("done")


def test_images_of_ones_own_without_labels(notebook, house):
    data, own = load_dataset("mnist5k"), house / "my images"
    own.mkdir()
    picked = [i for c in (0, 1) for i in (data.train_labels == c).nonzero().flatten()[:20].tolist()]
    for number, i in enumerate(picked):
        PIL.Image.fromarray(data.train_images[i, 0].numpy()).save(own / f"<i>{number}.png")
    nb = notebook(
        "04_be_the_oracle",
        "04_own",
        dataset=f"folder:{own}",
        classes="zero, <b>one",
        n_start=3,
        n_query=3,
        n_rounds=1,
        epochs=20,
    )
    nb.run_all()
    nb.button("▶ Start").click()
    desk = nb.page.locator(".al-desk")
    nb.see("First labels, 3 of each class are needed. So far: zero 0, <b>one 0.")
    taught = 0
    while desk.get_by_role("button", name="hand in").is_disabled():
        before = desk.locator(".al-desk-head").text_content()
        png = base64.b64decode(desk.locator("img").get_attribute("src").split(",")[1])
        pixels = np.array(PIL.Image.open(io.BytesIO(png)).convert("L"))
        nb.page.keyboard.press("1" if pixels[10:18, 12:16].mean() < 60 else "2")  # a zero has a hole
        wait_until(lambda before=before: desk.locator(".al-desk-head").text_content() != before)
        taught += 1
    nb.screenshot("first")
    nb.page.keyboard.press("Enter")
    for k in range(3):
        nb.see(f"Round 1: image {k + 1} of 3.")
        nb.page.keyboard.press("1")
    nb.see("All 3 are answered")
    nb.page.keyboard.press("Enter")
    nb.await_status("Done.")
    nb.see("the true classes of these images are not known")
    nb.page.get_by_text("the true classes of these images").scroll_into_view_if_needed()
    nb.screenshot("done")
    [rounds] = [rounds for name, rounds in ledgers(house / "reports/runs/oracle").items() if "my-images" in name]
    assert rounds[0].labels == [1, 1, 1] and rounds[0].true_classes == [-1] * 3
