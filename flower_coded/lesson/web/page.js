// Draws the lesson from its description, and asks the worker, where Python runs, whenever something is moved.
"use strict";

const LESSON = JSON.parse(document.getElementById("lesson").textContent);
const status = document.getElementById("status");
const parts = new Map(); // by name: its description, settings, places on the page, and what is asked of the worker
let worker = null;

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

// **bold** and `code`; everything else is text, whatever it holds.
function marked(text) {
  return text.split(/(\*\*[^*]+\*\*|`[^`]+`)/).map((piece) => {
    if (piece.startsWith("**")) return element("b", {}, piece.slice(2, -2));
    if (piece.startsWith("`")) return element("code", {}, piece.slice(1, -1));
    return piece;
  });
}

function tell(text, kind = "") {
  status.className = `note ${kind}`;
  status.replaceChildren(...marked(text), linkTrouble);
}

// ---------------------------------------------------------------------------------- controls

function toggled(numbers, number) {
  return numbers.includes(number) ? numbers.filter((each) => each !== number) : [...numbers, number];
}

const CONTROLS = {
  slider(part, control, value) {
    const shown = element("output", {}, String(value));
    const moved = (event) => {
      shown.textContent = event.target.value;
      change(part, control.name, Number(event.target.value));
    };
    const range = element("input", {
      type: "range", min: control.least, max: control.most, step: control.step, value, oninput: moved,
    });
    return element("label", {}, `${control.label} `, shown, range);
  },
  choice(part, control, value) {
    const options = control.options.map(([shown, sent]) =>
      element("option", { value: sent, selected: sent === value }, shown));
    const chosen = (event) => {
      // Users and models of one code are not those of another.
      for (const other of part.controls) if (other.kind === "indexset") delete part.settings[other.name];
      part.place.inert = true; // nor can those that still stand there be clicked
      change(part, control.name, event.target.value);
    };
    return element("label", {}, control.label, element("select", { onchange: chosen }, ...options));
  },
  number(part, control, value) {
    const typed = (event) => change(part, control.name, event.target.value.trim());
    return element("label", {}, control.label, element("input", {
      type: "text", inputmode: "numeric", maxlength: control.most_digits, value, oninput: typed,
    }));
  },
  indexset(part, control, value) {
    if (!control.num_shown) return ""; // its buttons stand in the picture of the matrix
    const buttons = Array.from({ length: control.num_shown }, (_, number) => {
      const pressed = (event) => {
        const chosen = toggled(settingOf(part, control.name), number);
        event.target.setAttribute("aria-pressed", String(chosen.includes(number)));
        change(part, control.name, chosen);
      };
      return element("button", { "aria-pressed": String(value.includes(number)), onclick: pressed }, String(number));
    });
    return element("fieldset", {}, element("legend", {}, control.label), ...buttons);
  },
};

// ---------------------------------------------------------------------------------- blocks

const BLOCKS = {
  text: (part, block) => element("p", {}, ...marked(block.text)),
  table(part, block) {
    const isNumber = (cell) => /^-?[\d.]+(e-?\d+)?$/.test(cell) && cell.length < 12;
    const isNumeric = block.columns.map((_, column) => column > 0 && block.rows.every((row) => isNumber(row[column])));
    const kindOf = (cell, column) => (isNumeric[column] ? "number" : cell.length > 40 ? "long" : "");
    const row = (cells, tag) => element("tr", {}, ...cells.map((cell, column) =>
      element(tag, { class: kindOf(cell, column) }, cell)));
    const head = element("thead", {}, row(block.columns, "th"));
    return element("div", { class: "wide" },
      element("table", {}, head, element("tbody", {}, ...block.rows.map((cells) => row(cells, "td")))));
  },
  matrix(part, block) {
    const flip = (name, number) => () => change(part, name, toggled(settingOf(part, name), number));
    const users = block.rows[0].map((_, user) => element("th", {}, element("button", {
      "aria-pressed": String(block.liars.includes(user)), "data-key": `user ${user}`, title: `user ${user}: honest, or a liar`,
      onclick: flip("liars", user),
    }, String(user))));
    const rows = block.rows.map((row, model) => {
      const cells = row.map((isMember, user) => {
        const isLiar = isMember && block.liars.includes(user);
        return element("td", { class: `cell ${isLiar ? "liar" : isMember ? "user" : ""}` }, isLiar ? "×" : "");
      });
      const isPoisoned = block.poisoned.includes(model);
      const word = block.reached.includes(model)
        ? element("button", {
          "aria-pressed": String(isPoisoned), "data-key": `model ${model}`, onclick: flip("spared", model),
        }, isPoisoned ? "poisoned" : "spared")
        : "";
      return element("tr", {}, element("th", {}, `model ${model}`), ...cells, element("td", {}, word));
    });
    const head = element("tr", {}, element("th", {}, "user"), ...users, element("td"));
    return element("div", { class: "wide" }, element("table", { class: "matrix" }, head, ...rows));
  },
};

function show(part, blocks) {
  // Drawing anew would take the focus from whoever uses the keyboard.
  const focused = part.place.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  part.place.replaceChildren(...blocks.map((block) => BLOCKS[block.kind](part, block)));
  if (focused !== undefined)
    [...part.place.querySelectorAll("button")].find((button) => button.dataset.key === focused)?.focus();
}

// A refused setting may have no control left to take it back with.
function showRefusal(part, refusal) {
  const again = () => {
    part.settings = {};
    drawControls(part);
    noteLink();
    ask(part);
  };
  part.place.replaceChildren(element("div", { class: "note bad" }, `Not possible: ${refusal} `,
    element("button", { onclick: again }, "Begin this part again")));
}

function drawControls(part) {
  const controls = part.controls.map((control) => CONTROLS[control.kind](part, control, settingOf(part, control.name)));
  part.moved.replaceChildren(...controls);
}

// ---------------------------------------------------------------------------------- settings

// What a link says may be anything. What could not be drawn counts as not said here; it is refused where it is answered.
function settingOf(part, name) {
  const { kind, value } = part.controls.find((control) => control.name === name);
  const said = part.settings[name];
  return (kind === "indexset" ? Array.isArray(said) : typeof said === typeof value) ? said : value;
}

function change(part, name, value) {
  part.settings[name] = value;
  noteLink();
  ask(part);
}

// A link to what is seen. Of many changes in a short time the last is enough, and browsers refuse too many.
let linking = null;
function noteLink() {
  linking ??= setTimeout(writeLink, 200);
}

function writeLink() {
  linking = null;
  const moved = [...parts.values()].filter((each) => Object.keys(each.settings).length);
  const words = moved.map((each) => `${each.name}=${encodeURIComponent(JSON.stringify(each.settings))}`);
  history.replaceState(null, "", `#${words.join("&")}`);
}

let linkTrouble = ""; // said with what else is told

// What a link asks for. What it says is checked where it is answered.
function readLink() {
  for (const part of parts.values()) part.settings = {};
  for (const [name, text] of new URLSearchParams(location.hash.slice(1))) {
    if (!text) continue; // the name of a place on the page
    try {
      const settings = JSON.parse(text);
      JSON.stringify(settings); // too deep for that is refused here
      if (parts.has(name) && settings && typeof settings === "object" && !Array.isArray(settings))
        parts.get(name).settings = settings;
    } catch (error) {
      linkTrouble = ` The link's settings of ${name} cannot be read: ${error.message}.`;
    }
  }
}

// One question per part at a time; of what is moved meanwhile only the last is asked.
function ask(part) {
  part.place.classList.add("waiting");
  if (!worker || part.isAsking) {
    part.isDue = true;
    return;
  }
  part.isAsking = true;
  part.isDue = false;
  worker.postMessage({ part: part.name, settings: JSON.stringify(part.settings) });
}

function answered(part, answer) {
  part.isAsking = false;
  if (answer.refusal) showRefusal(part, answer.refusal);
  else show(part, answer.blocks);
  if (!part.isDue) part.place.inert = false;
  part.place.classList.remove("waiting");
  part.section.dataset.answers = String(Number(part.section.dataset.answers ?? 0) + 1);
  if (part.isDue) ask(part);
}

// ---------------------------------------------------------------------------------- beginning

function draw() {
  const main = document.getElementById("parts");
  LESSON.forEach((described, index) => {
    const part = { ...described, settings: {}, isAsking: false, isDue: false };
    parts.set(part.name, part);
    part.place = element("div", { class: "blocks" });
    part.moved = element("div", { class: "controls" });
    part.section = element("section", { id: part.name },
      element("h2", {}, `${index + 1}. ${part.title} (${part.minutes} minutes)`),
      element("p", {}, ...marked(part.text)));
    main.append(part.section);
  });
  readLink();
  for (const part of parts.values()) {
    drawControls(part);
    part.section.append(part.moved, part.place,
      element("p", { class: "question" }, `Ask the class: ${part.question}`));
    show(part, part.blocks);
    if (Object.keys(part.settings).length) ask(part);
  }
}

// Another link in the same window, or a step back to one: no page is loaded for it.
function followLink() {
  const before = new Map([...parts.values()].map((part) => [part, JSON.stringify(part.settings)]));
  linkTrouble = "";
  readLink();
  if (linkTrouble) tell("The link was read in part.", "bad");
  for (const [part, settings] of before) {
    if (JSON.stringify(part.settings) === settings) continue;
    drawControls(part);
    part.place.inert = true;
    ask(part);
  }
}

function startPython() {
  if (location.protocol === "file:") {
    tell("A page opened from a file may not start Python, so nothing follows here. Serve its directory: `flower-coded playground` does.", "bad");
    return;
  }
  tell("Python is being loaded, some 17 MB the first time. Until then you see the first example.");
  const started = new Worker("worker.js");
  started.onerror = (event) => tell(`Python could not be started: ${event.message ?? "worker.js cannot be loaded"}`, "bad");
  started.onmessage = ({ data }) => {
    if (data.kind === "failed") tell(`Python could not be started: ${data.reason}`, "bad");
    else if (data.kind === "ready") {
      worker = started;
      tell("Ready: move anything.", "good");
      for (const part of parts.values()) if (part.isDue) ask(part);
    } else answered(parts.get(data.part), JSON.parse(data.answer));
  };
}

draw();
window.addEventListener("hashchange", followLink);
startPython();
