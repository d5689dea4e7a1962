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
  status.replaceChildren(...marked(text));
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
      "aria-pressed": String(block.liars.includes(user)), title: `user ${user}: honest, or a liar`,
      onclick: flip("liars", user),
    }, String(user))));
    const rows = block.rows.map((row, model) => {
      const cells = row.map((isMember, user) => {
        const isLiar = isMember && block.liars.includes(user);
        return element("td", { class: `cell ${isLiar ? "liar" : isMember ? "user" : ""}` }, isLiar ? "×" : "");
      });
      const isPoisoned = block.poisoned.includes(model);
      const word = block.reached.includes(model)
        ? element("button", { "aria-pressed": String(isPoisoned), onclick: flip("spared", model) },
          isPoisoned ? "poisoned" : "spared")
        : "";
      return element("tr", {}, element("th", {}, `model ${model}`), ...cells, element("td", {}, word));
    });
    const head = element("tr", {}, element("th", {}, "user"), ...users, element("td"));
    return element("div", { class: "wide" }, element("table", { class: "matrix" }, head, ...rows));
  },
};

function show(part, blocks) {
  const focused = part.place.contains(document.activeElement) ? focusPath(part.place) : null;
  part.place.replaceChildren(...blocks.map((block) => BLOCKS[block.kind](part, block)));
  if (focused !== null) part.place.querySelectorAll("button")[focused]?.focus();
}

// Which button has the focus: drawing anew would take it from whoever uses the keyboard.
function focusPath(place) {
  const position = [...place.querySelectorAll("button")].indexOf(document.activeElement);
  return position < 0 ? null : position;
}

// ---------------------------------------------------------------------------------- settings

function settingOf(part, name) {
  return part.settings[name] ?? part.controls.find((control) => control.name === name).value;
}

function change(part, name, value) {
  part.settings[name] = value;
  const moved = [...parts.values()].filter((each) => Object.keys(each.settings).length);
  const words = moved.map((each) => `${each.name}=${encodeURIComponent(JSON.stringify(each.settings))}`);
  history.replaceState(null, "", `#${words.join("&")}`); // a link to what is seen
  ask(part);
}

// What a link asks for. What it says is checked where it is answered.
function readLink() {
  for (const [name, text] of new URLSearchParams(location.hash.slice(1))) {
    try {
      const settings = JSON.parse(text);
      if (parts.has(name) && settings && typeof settings === "object" && !Array.isArray(settings))
        parts.get(name).settings = settings;
    } catch (error) {
      tell(`The link's settings of ${name} cannot be read: ${error.message}`, "bad");
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
  if (answer.refusal) part.place.replaceChildren(element("div", { class: "note bad" }, `Not possible: ${answer.refusal}`));
  else show(part, answer.blocks);
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
    part.section = element("section", { id: part.name },
      element("h2", {}, `${index + 1}. ${part.title} (${part.minutes} minutes)`),
      element("p", {}, ...marked(part.text)));
    main.append(part.section);
  });
  readLink();
  for (const part of parts.values()) {
    const controls = part.controls.map((control) => CONTROLS[control.kind](part, control, settingOf(part, control.name)));
    part.section.append(element("div", { class: "controls" }, ...controls), part.place,
      element("p", { class: "question" }, `Ask the class: ${part.question}`));
    show(part, part.blocks);
    if (Object.keys(part.settings).length) ask(part);
  }
}

function startPython() {
  if (location.protocol === "file:") {
    tell("A page opened from a file may not start Python, so nothing follows here. Serve its directory: `flower-coded playground` does.", "bad");
    return;
  }
  tell("Python is being loaded, some 15 MB the first time. Until then you see the first example.");
  const started = new Worker("worker.js");
  started.onerror = (event) => tell(`Python could not be started: ${event.message}`, "bad");
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
startPython();
