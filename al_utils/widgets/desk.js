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

  let shownAt = 0;
  let waiting = false; // for Python to have the last answer on disk
  let buttons = {};
  let typed = ""; // the first digits of a key that has several
  let brush = null; // in a grid: the answer that a click gives

  const send = (action) => {
    if (waiting) return;
    waiting = true;
    model.send({ ...action, seconds: (performance.now() - shownAt) / 1000 });
  };

  // In a grid a class is chosen first, then images; where an image has the focus, the key of a class answers it.
  const answer = (action) => {
    const state = model.get("state");
    const tile = document.activeElement?.closest?.(".al-desk-tile");
    if (action.kind === undefined) send(action);
    else if (!state.grid) state.image !== null && send({ ...action, image: state.image });
    else if (tile && grid.contains(tile)) send({ ...action, image: Number(tile.dataset.image) });
    else {
      brush = action;
      show();
    }
  };

  const button = (row, key, text, action, tip, enabled) => {
    const made = element("button", "al-desk-button");
    made.type = "button";
    made.title = tip;
    made.disabled = !enabled;
    if (key) made.append(element("kbd", "", key));
    if (key !== text) made.append(key ? ` ${text}` : text);
    if (model.get("state").grid && action.kind !== undefined)
      made.setAttribute("aria-pressed", String(brush?.kind === action.kind && brush?.label === action.label));
    made.addEventListener("click", () => {
      desk.focus({ preventScroll: true });
      answer(action);
    });
    row.append(made);
    if (key && enabled) buttons[key.toLowerCase()] = action;
  };

  const showTiles = () => {
    const state = model.get("state");
    const focused = document.activeElement?.dataset?.image;
    grid.replaceChildren();
    for (const tile of state.grid ? model.get("tiles") : []) {
      const made = element("button", "al-desk-tile");
      const mark = state.marks[tile.image] ?? "";
      made.type = "button";
      made.dataset.image = tile.image;
      const picture = element("img", "");
      picture.src = tile.uri;
      picture.alt = mark ? `an image, answered ${mark}` : "an image to label";
      made.append(picture, element("span", mark.endsWith("?") ? "al-desk-faint" : "", mark || "·"));
      made.title = brush ? `This is ${brush.label || brush.kind}` : "Choose a class first, then its images";
      made.addEventListener("click", () => brush && send({ ...brush, image: tile.image }));
      grid.append(made);
      if (String(tile.image) === focused) made.focus({ preventScroll: true });
    }
    grid.hidden = !state.grid;
  };

  const show = () => {
    const s = model.get("state");
    const can = s.grid ? model.get("tiles").length > 0 : s.image !== null;
    waiting = false;
    buttons = {};
    typed = "";
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
    hint.textContent = s.hint;
    showTiles();
    shownAt = performance.now();
  };

  desk.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.repeat) return;
    if (event.target.tagName === "BUTTON" && event.key === "Enter") return; // the browser presses it
    const key = event.key.toLowerCase();
    if (typed && key === "backspace") {
      typed = "";
      hint.textContent = model.get("state").hint;
    } else if (buttons[typed + key]) answer(buttons[typed + key]);
    else if (key.length === 1 && Object.keys(buttons).some((name) => name.length > 1 && name.startsWith(typed + key))) {
      typed += key;
      hint.textContent = `Key ${typed}… (Backspace: begin again)`;
    } else return;
    event.preventDefault();
    event.stopPropagation();
  });
  const focus = (message) => message.focus && desk.focus({ preventScroll: false });

  model.on("change:state", show);
  model.on("change:tiles", show);
  model.on("msg:custom", focus);
  show();
  return () => {
    model.off("change:state", show);
    model.off("change:tiles", show);
    model.off("msg:custom", focus);
  };
}

export default { render };
