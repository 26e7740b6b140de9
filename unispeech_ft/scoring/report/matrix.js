// The confusion matrix: a grid to walk through by mouse or keyboard, and the utterances of the chosen cell.
const NOTHING = "∅";
const AROUND_PAIRS = 5;

const phoneName = (place) => (place < 0 ? NOTHING : data.names[place]);

function element(tag, text = "", attributes = {}) {
  const made = document.createElement(tag);
  made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function describe(said, heard, count) {
  const times = `${count} ${count === 1 ? "time" : "times"}`;
  if (said < 0) return `${phoneName(heard)} inserted: ${times}`;
  if (heard < 0) return `${phoneName(said)} deleted: ${times}`;
  return said === heard ? `${phoneName(said)} recognised: ${times}` : `${phoneName(said)} recognised as ${phoneName(heard)}: ${times}`;
}

function makeCell(said, heard, found, rowTotal) {
  const count = found ? found[2] : 0, right = said === heard && said >= 0;
  const cell = element("td", count || "", { role: "gridcell", tabindex: "-1" });
  cell.classList.toggle("same", right);
  cell.classList.toggle("none", !count);
  if (said < 0 && heard < 0) return cell;
  cell.setAttribute("aria-label", describe(said, heard, count));
  cell.title = describe(said, heard, count);
  if (count) {
    const share = count / Math.max(1, rowTotal);
    const strength = right ? 0.08 + 0.4 * share : 0.14 + 0.62 * Math.sqrt(Math.min(1, 2 * share));
    cell.style.background = `rgba(var(--${right ? "right" : "error"}), ${strength.toFixed(2)})`;
  }
  return cell;
}

function makeMatrix() {
  const axis = [...data.axis, -1];
  const counts = new Map(data.cells.map((cell) => [`${cell[0]},${cell[1]}`, cell]));
  const totals = new Map();
  for (const [said, , count] of data.cells) totals.set(said, (totals.get(said) || 0) + count);
  const starts = axis.map((_, n) => n === axis.length - 1 || data.classes[n] !== data.classes[n - 1]);
  const header = (place, n, scope) => {
    const made = element("th", phoneName(place), { scope, lang: "und-fonipa", title: place < 0 ? "no phone" : `${phoneName(place)} (${data.classes[n]})` });
    made.classList.toggle("starts", starts[n]);
    return made;
  };
  const table = element("table", "", { role: "grid", "aria-label": "confusion matrix" });
  const head = table.createTHead().insertRow(), body = table.createTBody();
  head.append(element("th", "said ↓ heard →", { "aria-label": "rows: said, columns: recognised" }), ...axis.map((place, n) => header(place, n, "col")));
  axis.forEach((said, n) => {
    const row = body.insertRow();
    row.classList.toggle("starts", starts[n]);
    row.append(header(said, n, "row"), ...axis.map((heard, m) => {
      const cell = makeCell(said, heard, counts.get(`${said},${heard}`), totals.get(said));
      cell.classList.toggle("starts", starts[m]);
      return cell;
    }));
  });
  const cellAt = (row, column) => body.rows[row] && body.rows[row].cells[column + 1];
  const found = (cell) => counts.get(`${axis[cell.parentNode.sectionRowIndex]},${axis[cell.cellIndex - 1]}`);
  walk(table, cellAt, axis.length, (cell) => found(cell) && choose(cell, found(cell)));
  return table;
}

// Arrow keys, Home and End move the focus, Enter and Space choose; one cell is in the order of the Tab key.
function walk(table, cellAt, size, chosen) {
  const enter = (cell) => {
    for (const other of table.querySelectorAll('td[tabindex="0"]')) other.tabIndex = -1;
    cell.tabIndex = 0;
    cell.focus();
  };
  const most = data.cells.filter(([said, heard]) => said !== heard).sort((a, b) => b[2] - a[2])[0];
  const place = (name) => (name < 0 ? size - 1 : data.axis.indexOf(name));
  const first = most ? cellAt(place(most[0]), place(most[1])) : cellAt(0, 0);
  if (first) first.tabIndex = 0;
  table.addEventListener("keydown", (event) => {
    const cell = event.target.closest("td");
    if (!cell || event.ctrlKey || event.metaKey || event.altKey) return;
    const row = cell.parentNode.sectionRowIndex, column = cell.cellIndex - 1;
    const moves = {
      ArrowUp: [row - 1, column], ArrowDown: [row + 1, column], ArrowLeft: [row, column - 1], ArrowRight: [row, column + 1],
      Home: [row, 0], End: [row, size - 1],
    };
    if (event.key === "Enter" || event.key === " ") chosen(cell);
    else if (!(event.key in moves)) return;
    else {
      const next = moves[event.key][1] >= 0 && cellAt(...moves[event.key]);
      if (next) enter(next);
    }
    event.preventDefault();
  });
  table.addEventListener("click", (event) => {
    const cell = event.target.closest("td");
    if (cell) { enter(cell); chosen(cell); }
  });
}

function choose(cell, [said, heard, count, examples]) {
  for (const other of document.querySelectorAll('td[aria-selected="true"]')) other.removeAttribute("aria-selected");
  cell.setAttribute("aria-selected", "true");
  const place = document.getElementById("cell");
  const list = element("ol", "", { role: "list", class: said === heard ? "right" : "wrong" });
  list.append(...examples.map(([utterance, pair]) => example(utterance, pair)));
  const more = count > examples.length ? `${examples.length} of them:` : "";
  const note = examples.length ? more : "Its utterances are not kept in this page.";
  place.replaceChildren(element("h3", describe(said, heard, count)), element("p", note, { class: "soft" }), list);
  for (const canvas of list.querySelectorAll("canvas")) drawPicture(canvas, +canvas.dataset.utterance, +canvas.dataset.pair);
  const play = list.querySelector("button.phone");
  if (play) play.click();
}

function example(utterance, pair) {
  const item = data.utterances[utterance], [said, heard] = item.pairs[pair];
  const made = element("li");
  const context = element("span", "", { class: "context", lang: "und-fonipa" });
  const side = (from, to) => item.pairs.slice(Math.max(0, from), to).map(([phone]) => phone).filter((p) => p >= 0).map(phoneName).join(" ");
  const shown = said === heard ? phoneName(said) : `${phoneName(said)} → ${phoneName(heard)}`;
  context.append(`${side(pair - AROUND_PAIRS, pair)} `, element("mark", shown), ` ${side(pair + 1, pair + 1 + AROUND_PAIRS)}`);
  const time = item.times.length ? ` · ${(item.times[pair][0] / 1000).toFixed(2)} s` : "";
  made.append(element("span", item.id + time, { class: "soft id" }), context);
  if (!hasSound(utterance)) return made;
  const phone = element("button", "▶ phone", { type: "button", class: "phone" });
  const whole = element("button", "▶ utterance", { type: "button" });
  phone.addEventListener("click", () => playPair(utterance, pair, phone));
  whole.addEventListener("click", () => play(utterance, whole));
  const buttons = element("div", "", { class: "buttons" });
  buttons.append(phone, whole);
  const picture = element("canvas", "", { class: "picture", role: "img", "data-utterance": utterance, "data-pair": pair });
  made.append(picture, buttons);
  return made;
}
