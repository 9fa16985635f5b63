// The labelling desk: shows an image and sends what the person answers. `state` comes from Python.
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
  const choices = element("div", "al-desk-row");
  const others = element("div", "al-desk-row");
  const hint = element("div", "al-desk-hint");
  desk.append(head, image, choices, others, hint);
  el.replaceChildren(desk);

  let shownAt = 0;
  let waiting = false; // for Python to have the last answer on disk
  let buttons = {};

  const send = (action) => {
    const state = model.get("state");
    const isAnswer = action.answer !== undefined;
    if (waiting || (isAnswer && state.image === null)) return;
    waiting = true;
    model.send({ ...action, image: state.image, seconds: (performance.now() - shownAt) / 1000 });
  };

  const button = (row, key, text, action, tip, enabled) => {
    const made = element("button", "al-desk-button");
    made.type = "button";
    made.title = tip;
    made.disabled = !enabled;
    if (key) made.append(element("kbd", "", key));
    if (key !== text) made.append(key ? ` ${text}` : text);
    made.addEventListener("click", () => {
      desk.focus({ preventScroll: true });
      send(action);
    });
    row.append(made);
    if (key && enabled) buttons[key.toLowerCase()] = action;
  };

  const show = () => {
    const s = model.get("state");
    waiting = false;
    buttons = {};
    head.textContent = s.text;
    image.hidden = s.image === null;
    if (s.image !== null) {
      image.src = s.uri;
      image.alt = "the image to label";
    }
    choices.replaceChildren();
    others.replaceChildren();
    s.classes.forEach((name, c) =>
      button(choices, s.keys[c], name, { answer: c }, `This is ${name}`, s.image !== null));
    button(others, "-", "skip", { answer: "skip" }, "No label for this one", s.image !== null);
    button(others, "?", "unrecognisable", { answer: "unrecognisable" }, "Nobody could tell: no label", s.image !== null);
    button(others, "Backspace", "undo", { undo: true }, "Take back the last answer of this batch", s.can_undo);
    button(others, "Enter", s.submit, { submit: true }, "Hand in this batch; then it stays", s.can_submit);
    hint.textContent = s.hint;
    shownAt = performance.now();
  };

  desk.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.repeat) return;
    const onButton = event.target.tagName === "BUTTON" && event.key === "Enter"; // the browser presses it
    const action = buttons[event.key.toLowerCase()];
    if (!action || onButton) return;
    event.preventDefault();
    event.stopPropagation();
    send(action);
  });
  const focus = (message) => message.focus && desk.focus({ preventScroll: false });

  model.on("change:state", show);
  model.on("msg:custom", focus);
  show();
  return () => {
    model.off("change:state", show);
    model.off("msg:custom", focus);
  };
}

export default { render };
