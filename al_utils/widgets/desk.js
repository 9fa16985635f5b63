// The labelling desk: shows one image or a grid of them, and sends what the person answers. `state` and `tiles` come
// from Python.
const element = (tag, className, text = "") => {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text; // never HTML: class names are the user's
  return made;
};

function render({ model, el }) {
  const desk = element("div", "al-desk");
  desk.tabIndex = 0;
  desk.setAttribute("role", "group");
  desk.setAttribute("aria-label", "Labelling desk: press the key of a class");
  // JupyterLab would take the keys for commands, such as x for "cut this cell".
  desk.dataset.lmSuppressShortcuts = "true";
  el.dataset.lmSuppressShortcuts = "true";
  const head = element("div", "al-desk-head");
  head.setAttribute("aria-live", "polite");
  const image = element("img", "al-desk-image");
  const suggestion = element("div", "al-desk-suggestion");
  const grid = element("div", "al-desk-grid");
  const choices = element("div", "al-desk-row");
  const others = element("div", "al-desk-row");
  const hint = element("div", "al-desk-hint");
  const picture = element("div", "al-desk-picture");
  const keys = element("div", "al-desk-keys");
  picture.append(image, suggestion);
  keys.append(choices, others);
  const body = element("div", "al-desk-body");
  body.append(picture, grid, keys);
  desk.append(head, body, hint);
  el.replaceChildren(desk);

  let drawn = model.get("state"); // what the person sees
  let shownAt = 0;
  let waiting = false; // for Python to have the last answer on disk
  let buttons = {};
  let typed = ""; // the first digits of a key that has several
  let brush = null; // in a grid: the answer that a click gives

  // While a button is pressed nothing is drawn anew, else it would be gone when it is let go, and the click lost.
  let pressed = false;
  let due = false;
  let ending;
  const press = (event) => {
    if (!event.target.closest("button:enabled")) return;
    clearTimeout(ending);
    pressed = true;
  };
  const end = () => {
    clearTimeout(ending);
    pressed = false;
    if (due) show();
  };
  const release = () => {
    if (pressed) ending = setTimeout(end, 100); // a click comes first, if one does
  };

  const send = (action) => {
    model.send({ ...action, seconds: (performance.now() - shownAt) / 1000 });
    shownAt = performance.now();
  };

  // In a grid a class is chosen first, then images; where an image has the focus, the key of a class answers it. Each
  // answer names its image there, so none has to wait; otherwise one waits for the last, and labels nothing unseen.
  const answer = (action) => {
    const tile = document.activeElement?.closest?.(".al-desk-tile");
    const isAnswer = action.kind !== undefined;
    if (isAnswer && drawn.grid) {
      if (tile && grid.contains(tile)) send({ ...action, image: Number(tile.dataset.image) });
      else {
        brush = action;
        show();
      }
    } else if (!waiting && !(isAnswer && drawn.image === null)) {
      waiting = true;
      send(isAnswer ? { ...action, image: drawn.image } : action);
    }
  };

  const button = (row, key, text, action, tip, enabled) => {
    const made = element("button", "al-desk-button");
    made.type = "button";
    made.title = tip;
    made.disabled = !enabled;
    if (key) made.append(element("kbd", "", key));
    if (key !== text) made.append(key ? ` ${text}` : text);
    if (drawn.grid && action.kind !== undefined)
      made.setAttribute("aria-pressed", String(brush?.kind === action.kind && brush?.label === action.label));
    made.addEventListener("click", () => {
      desk.focus({ preventScroll: true });
      typed = "";
      answer(action);
    });
    row.append(made);
    if (key && enabled) buttons[key.toLowerCase()] = action;
  };

  const showTiles = () => {
    const focused = document.activeElement?.dataset?.image;
    grid.replaceChildren();
    for (const tile of drawn.grid ? model.get("tiles") : []) {
      const made = element("button", "al-desk-tile");
      const mark = drawn.marks[tile.image] ?? "";
      made.type = "button";
      made.dataset.image = tile.image;
      const picture = element("img", "");
      picture.src = tile.uri;
      picture.draggable = false; // a press that moves a little stays a press
      picture.alt = mark ? `an image, answered ${mark}` : "an image to label";
      made.append(picture, element("span", mark.endsWith("?") ? "al-desk-faint" : "", mark || "·"));
      made.title = brush ? `This is ${brush.label || brush.kind}` : "Choose a class first, then its images";
      made.addEventListener("click", (event) => {
        if (event.detail > 1) return; // the second of a double click, which may have met what came up in the place
        typed = "";
        if (brush) send({ ...brush, image: tile.image });
      });
      grid.append(made);
      if (String(tile.image) === focused) made.focus({ preventScroll: true });
    }
    grid.hidden = !drawn.grid;
  };

  const show = () => {
    due = pressed;
    if (pressed) return;
    const before = drawn;
    const s = (drawn = model.get("state"));
    const can = s.grid ? model.get("tiles").length > 0 : s.image !== null;
    waiting = false;
    buttons = {};
    if (!(before.grid && s.grid)) typed = ""; // in a grid a reply may come between two digits of the next answer
    head.textContent = s.text;
    picture.hidden = s.image === null || s.grid;
    if (s.image !== null) {
      image.src = s.uri;
      image.alt = "the image to label";
    }
    suggestion.textContent = s.suggestion;
    choices.replaceChildren();
    others.replaceChildren();
    s.classes.forEach((name, c) =>
      button(choices, s.keys[c], name, { kind: "label", label: name }, `This is ${name}`, can));
    button(others, "-", "skip", { kind: "skip" }, "No label for this one", can);
    button(others, "?", "unrecognisable", { kind: "unrecognisable" }, "Nobody could tell: no label", can);
    button(others, "Backspace", s.undo, { undo: true }, "Take back the last answer, or the handing in", s.can_undo);
    button(others, "Enter", s.submit, { submit: true }, "Hand in this batch", s.can_submit);
    hint.textContent = typed ? `Key ${typed}… (Backspace: begin again)` : s.hint;
    showTiles();
    shownAt = performance.now();
  };

  desk.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.repeat) return;
    if (event.target.tagName === "BUTTON" && event.key === "Enter") return; // the browser presses it
    const key = event.key.toLowerCase();
    if (typed && key === "backspace") {
      typed = "";
      hint.textContent = drawn.hint;
    } else if (buttons[typed + key]) {
      const action = buttons[typed + key];
      typed = ""; // before the answer is drawn: the next digit begins the next key
      hint.textContent = drawn.hint;
      answer(action);
    } else if (key.length === 1 && Object.keys(buttons).some((name) => name.length > 1 && name.startsWith(typed + key))) {
      typed += key;
      hint.textContent = `Key ${typed}… (Backspace: begin again)`;
    } else return;
    event.preventDefault();
    event.stopPropagation();
  });
  const focus = (message) => message.focus && desk.focus({ preventScroll: false });

  // Space presses a button as long as it is down, Enter at once.
  const keyPress = (event) => event.key === " " && press(event);
  const keyRelease = (event) => event.key === " " && release();
  desk.addEventListener("pointerdown", press);
  desk.addEventListener("keydown", keyPress);
  desk.addEventListener("click", end);
  for (const event of ["pointerup", "pointercancel"]) window.addEventListener(event, release, true);
  window.addEventListener("keyup", keyRelease, true);

  model.on("change:state", show);
  model.on("change:tiles", show);
  model.on("msg:custom", focus);
  show();
  return () => {
    model.off("change:state", show);
    model.off("change:tiles", show);
    model.off("msg:custom", focus);
    for (const event of ["pointerup", "pointercancel"]) window.removeEventListener(event, release, true);
    window.removeEventListener("keyup", keyRelease, true);
  };
}

export default { render };
