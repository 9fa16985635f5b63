"""The desk of 04 by itself, in a real browser: a press counts once, whatever is drawn anew meanwhile."""

import base64

import pytest
from conftest import ROOT

IMAGE = "data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' width='28' height='28'/>"
STATE = dict(text="", classes=["cat", "dog"], keys=["c", "d"], image=None, uri="", suggestion="", hint="", grid=True, marks={},
             can_undo=False, undo="undo", can_submit=False, submit="hand in")  # fmt: skip
# A model as anywidget gives it, without a kernel: `sent` are the messages, `put` is what comes from Python.
MODEL = """async ([source, values]) => {
  const { default: desk } = await import(source);
  const handlers = {};
  window.sent = [];
  window.put = (name, value) => { values[name] = value; handlers[`change:${name}`](); };
  const model = { get: (name) => values[name], send: (message) => window.sent.push(message),
                  on: (name, handler) => { handlers[name] = handler; }, off: () => {} };
  window.close = desk.render({ model, el: document.body });
}"""


class Desk:
    """A desk in a page, and what a person does there."""

    def __init__(self, page):
        self.page = page
        source = base64.b64encode((ROOT / "al_utils/widgets/desk.js").read_bytes()).decode()
        tiles = [{"image": image, "uri": IMAGE} for image in (11, 12, 13)]
        page.evaluate(MODEL, [f"data:text/javascript;base64,{source}", {"state": STATE, "tiles": tiles}])

    def tile(self, image):
        return self.page.locator(f".al-desk-tile[data-image='{image}']")

    def button(self, name):
        return self.page.get_by_role("button", name=name)

    def put(self, **changes):
        """What Python says, after an answer to another image: everything is drawn anew."""
        self.page.evaluate("state => put('state', state)", STATE | changes)

    def press_down(self, thing):
        box = thing.bounding_box()
        self.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 15)
        self.page.mouse.down()

    def answers(self):
        """What was sent, once all has happened that may happen."""
        self.page.wait_for_timeout(200)
        return [(message.get("image"), message.get("label")) for message in self.page.evaluate("sent")]


@pytest.fixture
def desk(browser):
    page = browser.new_context(has_touch=True).new_page()
    yield Desk(page)
    page.context.close()


def test_a_press_on_an_image_counts_once_though_the_grid_is_drawn_anew_under_it(desk):
    desk.button("cat").click()
    desk.press_down(desk.tile(12))
    desk.put(marks={"11": "a mark so long that it would move the others"})
    assert desk.tile(11).text_content() == "·"  # not under the press
    desk.page.mouse.up()
    assert desk.answers() == [(12, "cat")]
    assert desk.tile(11).text_content().startswith("a mark")  # now it is drawn
    desk.put(marks={"12": "cat"})
    assert desk.tile(12).text_content() == "cat"  # and what comes later at once


def test_the_next_images_wait_for_the_end_of_a_press(desk):
    desk.button("cat").click()
    desk.press_down(desk.tile(13))
    desk.page.evaluate("uri => put('tiles', [{image: 21, uri}])", IMAGE)
    desk.page.mouse.up()
    assert desk.answers() == [(13, "cat")] and desk.page.locator(".al-desk-tile").count() == 1


def test_a_press_that_is_dragged_away_answers_nothing_and_holds_nothing_up(desk):
    desk.button("cat").click()
    desk.press_down(desk.tile(12))
    desk.put(marks={"11": "dog"})
    desk.page.mouse.move(5, 400)
    desk.page.mouse.up()
    assert desk.answers() == [] and desk.tile(11).text_content() == "dog"


@pytest.mark.parametrize("key", [" ", "Enter"])
def test_a_key_on_an_image_counts_once(desk, key):
    desk.button("dog").click()
    desk.tile(12).focus()
    desk.page.keyboard.down(key)
    desk.put(marks={"11": "cat"})
    desk.page.keyboard.up(key)
    assert desk.answers() == [(12, "dog")] and desk.tile(11).text_content() == "cat"
    desk.page.keyboard.press("c")  # the image still has the focus: the key of a class answers it
    assert desk.answers() == [(12, "dog"), (12, "cat")]


def test_a_finger_counts_once(desk):
    desk.button("dog").tap()
    desk.tile(13).tap()
    assert desk.answers() == [(13, "dog")]


def test_quick_presses_all_count_and_a_double_click_counts_once(desk):
    desk.button("dog").click()
    for image in (11, 12, 13):  # nothing comes from Python meanwhile
        desk.tile(image).click()
    assert desk.answers() == [(11, "dog"), (12, "dog"), (13, "dog")]
    desk.tile(12).dblclick()
    assert len(desk.answers()) == 4


def test_one_image_at_a_time_labels_what_was_seen(desk):
    desk.put(grid=False, image=11, uri=IMAGE)
    desk.press_down(desk.button("cat"))
    desk.put(grid=False, image=12, uri=IMAGE)
    desk.page.mouse.up()
    assert desk.answers() == [(11, "cat")]  # which the session passes over, if it has gone on
    desk.page.keyboard.press("d")
    desk.page.keyboard.press("d")  # pressed twice: nothing that is not seen yet
    assert desk.answers() == [(11, "cat"), (12, "dog")]


def test_a_click_ends_a_key_that_was_begun(desk):
    asked = dict(classes=[f"class {c}" for c in range(40)], keys=[f"{c:02d}" for c in range(40)])
    desk.put(**asked)
    desk.button("class 7").click()
    desk.tile(11).focus()
    desk.page.keyboard.press("1")
    desk.tile(11).click()
    desk.tile(12).focus()
    for digit in "23":
        desk.page.keyboard.press(digit)
    assert desk.answers() == [(11, "class 7"), (12, "class 23")]


@pytest.mark.parametrize("reply", ["none", "between two digits", "after each answer"])
def test_keys_of_two_digits_in_a_grid_are_read_one_by_one(desk, reply):
    classes = [f"class {c}" for c in range(40)]
    asked = dict(classes=classes, keys=[f"{c:02d}" for c in range(40)])
    desk.put(**asked)
    for image, key in ((11, "05"), (12, "17"), (13, "23")):
        desk.tile(image).focus()
        desk.page.keyboard.press(key[0])
        if reply == "between two digits":
            desk.put(**asked)
        desk.page.keyboard.press(key[1])
        if reply == "after each answer":
            desk.put(**asked)
    assert desk.answers() == [(11, "class 5"), (12, "class 17"), (13, "class 23")]
