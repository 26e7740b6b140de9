// Phones on the waveform: chosen, heard and corrected. The value is {recording, duration_s, phones, rows}, a row
// [start in s, end in s, phone, how sure the model is or null].
const PX_PER_S = 220;
const LEAST_S = 0.01;
const STEP_S = 0.01;
const NEW_S = 0.1;
const TOUCHING_S = 0.0015;
const UNSURE = 0.5;

const data = { sound: {} };
const find = (selector) => element.querySelector(selector);
const canvas = find("canvas"), spans = find(".spans"), place = find(".place"), told = find(".told");
const fields = { phone: find(".phone"), start: find(".start"), end: find(".end") };
const clamp = (value, low, high) => Math.min(Math.max(value, low), Math.max(low, high));
const copied = (value) => JSON.parse(JSON.stringify(value));
const toMs = (seconds) => Math.round(seconds * 1000) / 1000;

let rows = [], chosen = -1, from = 0, length = 1, duration = 0, past = [], typed = null;

// ---- what is done to the rows

function save() {
  props.value = { ...props.value, rows: copied(rows) };
  trigger("input");
}

// Changes the rows; what they were can be had again. A field is left by pressing a phone: unless the phones are others,
// their buttons stay, so that the press is not lost.
function edit(change, others = true) {
  past.push(JSON.stringify([rows, chosen]));
  change();
  save();
  if (others) show();
  else layOut();
}

// Between which times an edge may stand, and the neighbour that shares it.
function limits(index, side) {
  const [start, end] = rows[index], other = rows[index + (side ? 1 : -1)];
  const shared = other && Math.abs(other[1 - side] - rows[index][side]) < TOUCHING_S ? other : null;
  if (side) return { low: start + LEAST_S, high: shared ? shared[1] - LEAST_S : other ? other[0] : duration, shared };
  return { low: shared ? shared[0] + LEAST_S : other ? other[1] : 0, high: end - LEAST_S, shared };
}

function moveEdge(index, side, time, { low, high, shared } = limits(index, side)) {
  const to = toMs(clamp(time, low, high));
  rows[index][side] = to;
  if (shared) shared[1 - side] = to;
}

// A new phone in the pause beside the chosen one; where there is none, it takes half of the chosen one.
function insert(after) {
  const row = rows[chosen];
  let made;
  if (!row) made = [from, Math.min(duration, from + NEW_S), "", null];
  else {
    const other = rows[chosen + (after ? 1 : -1)];
    const room = after ? (other ? other[0] : duration) - row[1] : row[0] - (other ? other[1] : 0);
    if (room >= 2 * LEAST_S) {
      const size = Math.min(NEW_S, room);
      made = after ? [row[1], row[1] + size, "", null] : [row[0] - size, row[0], "", null];
    } else {
      const middle = toMs((row[0] + row[1]) / 2);
      made = after ? [middle, row[1], "", null] : [row[0], middle, "", null];
      row[after ? 1 : 0] = middle;
    }
  }
  const at = row ? chosen + (after ? 1 : 0) : 0;
  rows.splice(at, 0, [toMs(made[0]), toMs(made[1]), made[2], made[3]]);
  chosen = at;
}

// ---- what is seen

const share = (time) => `${(100 * (time - from)) / length}%`;

function describe([start, end, phone, sure]) {
  const known = sure === null ? "" : `, ${Math.round(100 * sure)} % sure`;
  return `${phone || "no phone"}, ${start.toFixed(2)} to ${end.toFixed(2)} s${known}`;
}

function layOut() {
  for (const node of spans.children) {
    const row = rows[+node.dataset.index];
    if (node.dataset.side) {
      const time = row[+node.dataset.side], { low, high } = limits(+node.dataset.index, +node.dataset.side);
      node.style.left = share(time);
      node.classList.toggle("narrow", ((row[1] - row[0]) / length) * spans.clientWidth < 34);
      for (const [name, value] of [["min", low], ["max", high], ["now", time]]) node.setAttribute(`aria-value${name}`, value.toFixed(2));
      node.setAttribute("aria-valuetext", `${time.toFixed(2)} s`);
      continue;
    }
    node.style.left = share(row[0]);
    node.style.width = `${(100 * (row[1] - row[0])) / length}%`;
    node.title = describe(row);
    node.setAttribute("aria-label", node.title);
    node.firstChild.textContent = row[2] || "?";
    node.classList.toggle("unsure", row[3] !== null && row[3] < UNSURE);
  }
  const [start, end, phone] = rows[chosen] || ["", "", ""];
  if (document.activeElement !== fields.phone) fields.phone.value = phone;
  for (const [name, time] of [["start", start], ["end", end]]) fields[name].value = time === "" ? "" : time.toFixed(3);
  for (const name of ["play", "remove"]) find(`[data-do=${name}]`).disabled = !rows[chosen];
  for (const field of Object.values(fields)) field.disabled = !rows[chosen];
  find("[data-do=undo]").disabled = !past.length;
}

function makeSpan(index) {
  const button = document.createElement("button");
  button.type = "button";
  button.dataset.index = index;
  button.append(document.createElement("span"));
  button.tabIndex = index === chosen ? 0 : -1;
  button.classList.toggle("chosen", index === chosen);
  button.classList.toggle("low", index % 2 === 1);
  return button;
}

function makeHandle(side) {
  const handle = document.createElement("div");
  handle.className = `handle ${side ? "right" : "left"}`;
  handle.tabIndex = 0;
  handle.dataset.index = chosen;
  handle.dataset.side = side;
  handle.setAttribute("role", "slider");
  handle.setAttribute("aria-label", `${side ? "end" : "start"} of ${rows[chosen][2]}`);
  return handle;
}

function show() {
  const focused = spans.contains(document.activeElement) && (document.activeElement.dataset.side || "phone");
  spans.replaceChildren();
  rows.forEach(([start, end], index) => {
    if (end > from && start < from + length) spans.append(makeSpan(index));
  });
  const inSight = spans.querySelector(".chosen");
  if (inSight) spans.append(makeHandle(0), makeHandle(1));
  else if (spans.firstChild) spans.firstChild.tabIndex = 0;
  layOut();
  place.max = Math.max(0, duration - length);
  place.value = from;
  find(".where").textContent = `${from.toFixed(1)}–${(from + length).toFixed(1)} of ${duration.toFixed(1)} s`;
  if (focused) (focused === "phone" ? spans.querySelector(".chosen") : spans.querySelector(`[data-side="${focused}"]`))?.focus();
}

async function draw() {
  if (!canvas.clientWidth || !props.value) return;
  const wanted = [from, length, canvas.clientWidth, data.sound], piece = pieceOf(from);
  const late = () => [from, length, canvas.clientWidth, data.sound].some((value, place) => value !== wanted[place]);
  let samples;
  try {
    samples = (await samplesOf(await load(piece))).getChannelData(0);
  } catch {
    if (!late()) told.textContent = "The sound cannot be shown or played: it is gone, or this browser does not decode it.";
    return;
  }
  if (late()) return;
  const scale = Math.min(2, window.devicePixelRatio || 1), labels = Math.round(48 * scale), pen = canvas.getContext("2d");
  const width = canvas.width = Math.round(canvas.clientWidth * scale);
  const height = canvas.height = Math.round(canvas.clientHeight * scale), wave = Math.round(height * 0.3);
  drawWaveform(pen, samples, from - piece * pieceS, length, width, wave);
  drawSpectrogram(pen, samples, from - piece * pieceS, length, width, wave, height - wave - labels);
  canvas.setAttribute("aria-label", `waveform and spectrogram up to ${TOP_HZ / 1000} kHz, ${find(".where").textContent}`);
}

function look(start) {
  length = Math.min(duration, Math.max(1, (canvas.clientWidth || 900) / PX_PER_S)) || 1;
  from = toMs(clamp(start, 0, duration - length));
  show();
  draw();
}

function choose(index, focus = true) {
  chosen = clamp(index, 0, rows.length - 1);
  if (!rows[chosen]) return;
  const [start, end] = rows[chosen];
  if (start < from || end > from + length) look((start + end - length) / 2);
  else show();
  if (focus) spans.querySelector(".chosen")?.focus();
  told.textContent = describe(rows[chosen]);
}

// ---- what is heard: pieces of the recording, fetched when they are needed

const pieceS = props.piece_s;
const pieceOf = (time) => Math.floor(time / pieceS);

async function load(piece) {
  const sound = data.sound;
  sound[piece] ??= server.sound({ recording: props.value.recording, piece });
  sound[piece] = await sound[piece];
  return piece;
}

async function hear(start, end, marked) {
  const piece = pieceOf(Math.max(0, start));
  try { await load(piece); } catch { return; }
  play(piece, marked, start - piece * pieceS, end - piece * pieceS);
}

function hearChosen() {
  const [start, end] = rows[chosen];
  hear(start - AROUND_S, end + AROUND_S, spans.querySelector(".chosen") || canvas);
}

// ---- what is pressed

const actions = {
  earlier: () => look(from - 0.8 * length),
  later: () => look(from + 0.8 * length),
  hear: () => hear(from, from + length, find("[data-do=hear]")),
  play: () => hearChosen(),
  remove: () => edit(() => {
    rows.splice(chosen, 1);
    chosen = Math.min(chosen, rows.length - 1);
  }),
  before: () => { edit(() => insert(false)); rename(); },
  after: () => { edit(() => insert(true)); rename(); },
  undo: () => {
    if (!past.length) return;
    [rows, chosen] = JSON.parse(past.pop());
    save();
    show();
  },
};

function rename() {
  choose(chosen, false);
  fields.phone.focus();
  fields.phone.select();
  if (!rows[chosen][2]) told.textContent = "Type its phone; without one it is not saved.";
}

element.addEventListener("click", (event) => {
  const action = event.target.closest("[data-do]"), span = event.target.closest(".spans button");
  if (action) actions[action.dataset.do]();
  if (span) { choose(+span.dataset.index); hearChosen(); }
});
place.addEventListener("input", () => look(+place.value));

spans.addEventListener("keydown", (event) => {
  const { side } = event.target.dataset, step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (side && step) {
    const next = rows[chosen][+side] + step * STEP_S;
    edit(() => moveEdge(chosen, +side, next), false);
    told.textContent = describe(rows[chosen]);
  } else if (step) choose(+event.target.dataset.index + step);
  else if (event.key === "Home") choose(0);
  else if (event.key === "End") choose(rows.length - 1);
  else if (event.key === "Delete" && rows[chosen]) { actions.remove(); choose(chosen); }
  else if (event.key === "F2" && rows[chosen]) rename();
  else return;
  event.preventDefault();
});

spans.addEventListener("pointerdown", (event) => {
  const handle = event.target.closest(".handle");
  if (!handle) return;
  event.preventDefault();
  handle.focus();
  handle.setPointerCapture(event.pointerId);
  const side = +handle.dataset.side, within = limits(chosen, side), before = JSON.stringify([rows, chosen]);
  const held = rows[chosen][side] - (event.clientX / spans.clientWidth) * length;
  handle.onpointermove = (move) => {
    moveEdge(chosen, side, held + (move.clientX / spans.clientWidth) * length, within);
    layOut();
  };
  handle.onpointerup = handle.onpointercancel = () => {
    handle.onpointermove = handle.onpointerup = handle.onpointercancel = null;
    if (JSON.stringify([rows, chosen]) === before) return;
    past.push(before);
    save();
    layOut();
  };
});

fields.phone.addEventListener("focus", () => { typed = JSON.stringify([rows, chosen]); });
fields.phone.addEventListener("input", () => {
  Object.assign(rows[chosen], { 2: fields.phone.value.trim(), 3: null });
  save();
  layOut();
});
fields.phone.addEventListener("change", () => {
  if (typed && typed !== JSON.stringify([rows, chosen])) past.push(typed);
  typed = JSON.stringify([rows, chosen]);
  layOut();
});
fields.phone.addEventListener("keydown", (event) => {
  if (event.key !== "Enter") return;
  fields.phone.blur();
  choose(chosen);
});
for (const [side, field] of [fields.start, fields.end].entries()) {
  field.addEventListener("change", () => {
    const time = Number(field.value);
    if (field.value.trim() && Number.isFinite(time)) edit(() => moveEdge(chosen, side, time), false);
    else layOut();
  });
}

function take() {
  stopPlaying();
  decoded.clear();
  data.sound = {};
  past = [];
  chosen = -1;
  ({ rows, duration_s: duration } = copied({ rows: [], duration_s: 0, ...props.value }));
  find(".waveform").classList.toggle("empty", !props.value);
  find("datalist").replaceChildren(...(props.value?.phones ?? []).map((phone) => new Option(phone, phone)));
  told.textContent = rows.length || !props.value ? "" : "Nothing was heard in it. Insert the phones yourself, or try a model that was trained longer.";
  look(0);
}

watch("value", take);
new ResizeObserver(() => look(from)).observe(canvas);
take();
