// The view: what the reader sees and does. Data is read as text, never as markup. After each change everything is drawn
// anew; an element that had the focus gets it back, because its `data-id` says which one it is.
import { causalMask, fill, MiniFormer, maskedSoftmax, meanOfHeads, Transformer } from "./model.mjs";

const data = JSON.parse(document.getElementById("data").textContent);
const translates = Boolean(data.target);
const symbols = data.vocabulary?.symbols;
const targetSymbols = data.target ?? symbols;
const part = (id) => document.getElementById(id);
const state = {
  model: 0,
  answer: false, // whether the encoder reads the whole word
  ids: [],
  longest: undefined, // of a translation, when it is written step by step
  kind: "",
  query: 0,
  key: 0,
  shown: [{ layer: 0, head: 0 }], // the enlarged heads: one, or two side by side
  pinned: false,
  changes: new Map(), // as model.mjs says
};
const MODES = { "": "as trained", off: "off", even: "spread evenly", mean: "the mean of the heads" };

// ---- Elements -------------------------------------------------------------------------------------------------------

function el(tag, attributes = {}, ...children) {
  const drawn = ["svg", "path", "rect", "text"].includes(tag);
  const made = drawn ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat().filter(Boolean));
  return made;
}

const button = (id, content, onclick, more = {}) =>
  el("button", { type: "button", "data-id": id, onclick, ...more }, content);

/** One of several, [value, label] each, as radio buttons: the arrow keys work by themselves. `choose` gets the value. */
function choice(name, legend, options, chosen, choose) {
  const labels = options.map(([value, label], i) => {
    const more = { checked: value === chosen, "data-id": `${name} ${i}`, onchange: () => choose(value) };
    return el("label", {}, el("input", { type: "radio", name, ...more }), el("span", {}, label));
  });
  return el("fieldset", { class: "choice" }, el("legend", {}, legend), el("div", {}, labels));
}

/** The bar of a share from 0 to 1, and a dashed line where it was before the reader's changes. */
function bar(name, share, before) {
  const style = (value) => `--share: ${(100 * value).toFixed(2)}%`;
  const ghost = before !== undefined && el("span", { class: "ghost", style: style(before) });
  return el("span", { class: name }, el("span", { class: "bar", style: style(share) }), ghost);
}

const percent = (share) => (share >= 0.0995 ? `${Math.round(share * 100)} %` : `${(share * 100).toFixed(1)} %`);
const quoted = (token) => `“${token}”`;
const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
const largest = (values) => values.indexOf(values.reduce((most, value) => Math.max(most, value), -Infinity));
/** The colour of a weight from 0 to 1. */
const viridis = (weight) => data.colours[Math.round(weight * (data.colours.length - 1))];

// ---- What is computed -----------------------------------------------------------------------------------------------

let result; // kinds: [{ kind, layers, queries, keys, visible }]; with a model also read, written, targets, logits, before

function half(bits) {
  const [sign, exponent, fraction] = [bits >> 15 ? -1 : 1, (bits >> 10) & 31, (bits & 1023) / 1024];
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction) : 2 ** -14 * fraction);
}

function decode(element) {
  const { buffer } = Uint8Array.from(atob(element.textContent), (letter) => letter.charCodeAt(0));
  if (element.dataset.kind === "float32") return new Float32Array(buffer);
  return Float32Array.from(new Uint16Array(buffer), half);
}

/** Find a model's numbers here or in another view of the page. */
function find(name, frame) {
  try {
    if (frame.flycatcher?.numbers[name]) return frame.flycatcher.numbers[name];
  } catch {} // a frame from elsewhere, which may not be asked
  return Array.from({ length: frame.length }, (_, i) => find(name, frame[i])).find(Boolean);
}

const idOf = (symbol) => symbols.indexOf(symbols.indexOf(symbol) < 3 ? "<UNK>" : symbol); // -1: there is none
const split = (text) => (data.vocabulary.separator === "" ? [...text] : text.split(/\s+/).filter(Boolean));

/** What is wrong with a text, as a sentence; nothing if the model can read it. */
function complaint(text) {
  const [whole, things] = translates ? ["sentence", "words"] : ["word", "letters"];
  const typed = split(text);
  if (!typed.length) return `Type a ${whole}: an empty one gives nothing to look at.`;
  const unknown = typed.find((symbol) => idOf(symbol) < 0);
  if (unknown !== undefined) {
    const those = translates ? `${symbols.length - 3} words` : `the letters ${symbols.slice(3).join(" ")}`;
    return `The model cannot read ${quoted(unknown.slice(0, 24))}: it knows ${those}, and no others.`;
  }
  if (typed.length > data.most) return `That is ${typed.length} ${things}; at most ${data.most} can be read.`;
}

/** Run the model; `written` are tokens to read instead of those that a translator would write itself. */
function run(changes, written) {
  const model = window.flycatcher.models[state.model];
  const read = translates && !data.source_bos ? state.ids : [model.config.bos_id, ...state.ids];
  const tokens = [...read, model.config.eos_id];
  if (model instanceof MiniFormer) return { ...model.forward(read, changes), source: read, tokens };
  if (!translates) return { ...model.forward(read, read, { past: !state.answer, changes }), source: read, tokens };
  if (!written) return { ...model.generate(tokens, changes, state.longest), source: tokens };
  return model.forward(tokens, written.slice(0, -1), { changes });
}

/** Run the model with the reader's changes and, if there are any, without. */
function compute() {
  const now = run(state.changes);
  const source = now.source.map((id) => symbols[id]);
  const written = now.tokens.map((id) => targetSymbols[id]);
  const read = written.slice(0, -1);
  const kinds = Object.entries(now.attention).map(([kind, layers]) => {
    const keys = ["encoder", "cross"].includes(kind) ? source : read;
    return { kind, layers, queries: kind === "encoder" ? source : read, keys, visible: now.visible[kind] };
  });
  const before = state.changes.size ? run(new Map(), now.tokens).logits : undefined;
  result = { kinds, read, written, targets: now.tokens.slice(1), logits: now.logits, before };
}

/** The attention weights that `explore` was given, in the same form. */
function unpackAttention() {
  const kinds = data.kinds.map(({ layers, causal, ...kind }) => {
    const unpacked = (head) => fill(kind.queries.length, kind.keys.length, (i, j) => head[i][j] / 10000);
    return { ...kind, layers: layers.map((heads) => heads.map(unpacked)), visible: causal ? causalMask : () => true };
  });
  result = { kinds };
}

const probability = (logits, i) => maskedSoftmax(logits.row(i))[result.targets[i]];
const group = () => result.kinds.find(({ kind }) => kind === state.kind);
const query = () => Math.min(state.query, group().queries.length - 1);
const position = () => Math.min(state.query, result.read.length - 1);
const weightsOf = ({ layer, head }) => group().layers[layer]?.[head] ?? meanOfHeads(group().layers[layer]);
const titleOf = ({ layer, head }) =>
  `layer ${layer + 1}, ${head === "mean" ? "mean of the heads" : `head ${head + 1}`}`;
const keyOf = ({ layer, head }) => `${state.kind} ${layer} ${head}`;
const isShown = (one) => state.shown.some((other) => keyOf(other) === keyOf(one));

/** What a map's fourth number is about: the position before; in cross-attention the next, where an answer would stand. */
const near = () => (state.kind === "cross" ? "next" : "before");

/** The four numbers of a map, each the mean over the queries that it exists for. */
function measure(weights) {
  const rows = Array.from({ length: weights.rows }, (_, i) => {
    const row = weights.row(i);
    const entropy = row.reduce((sum, weight) => (weight > 0 ? sum - weight * Math.log(weight) : sum), 0);
    const choices = row.filter((_, j) => group().visible(i, j)).length; // none or one: no finite share of the most
    const positions = row.some((weight) => weight > 0) ? Math.exp(entropy) : 0;
    return [entropy / Math.log(choices), Math.max(...row), positions, row[near() === "next" ? i + 1 : i - 1]];
  });
  return ["entropy", "largest", "positions", near()].map((name, n) => {
    const values = rows.map((row) => row[n]).filter(Number.isFinite);
    return [name, values.length ? mean(values).toFixed(n === 2 ? 1 : 2) : "–"];
  });
}

// ---- What is shown --------------------------------------------------------------------------------------------------

function settings() {
  const use = (model) => change({ model, answer: data.models[model].answer, changes: new Map(), kind: "" });
  const names = data.models.map(({ name }, i) => [i, name]);
  const reads = [false, true].map((all) => [all, all ? "all letters: with the answer" : "the letters so far: honest"]);
  const two = window.flycatcher.models[state.model] instanceof Transformer && !translates;
  return [
    names.length > 1 && choice("model", "Model", names, state.model, use),
    two && choice("answer", "The encoder reads", reads, state.answer, (answer) => change({ answer })),
  ];
}

/** The text with words that go on as its last one begins: what the browser offers below the field. */
function suggestions(text) {
  const begun = /\S*$/.exec(text)[0];
  const found = symbols.slice(3).filter((word) => translates && begun && word !== begun && word.startsWith(begun));
  return found.slice(0, 6).map((word) => el("option", { value: `${text}${word.slice(begun.length)} ` }));
}

/** What each letter or word costs in nats; each button chooses the query before it. */
function losses() {
  const { read, written, logits, before } = result;
  const losses = (from) => from && read.map((_, i) => -Math.log(probability(from, i)));
  const [now, was] = [losses(logits), losses(before)];
  const top = Math.max(4, ...now, ...(was ?? []));
  const said = (values) => `${mean(values).toFixed(2)} nats`;
  const title = `The loss of each ${translates ? "word of the translation" : "letter"}`;
  const sum = `mean ${said(now)}${was ? `, before your changes ${said(was)}` : ""}`;
  part("losses-title").replaceChildren(title, el("small", {}, sum));
  return now.map((value, i) => {
    const more = { "aria-pressed": String(i === position()), title: `${value.toFixed(2)} nats, after ${read[i]}` };
    const number = el("span", { class: "number" }, value.toFixed(1));
    const token = el("span", { class: written[i + 1].length > 3 ? "long token" : "token" }, written[i + 1]);
    return button(`letter ${i}`, [number, bar("box", value / top, was && was[i] / top), token], () => choose(i), more);
  });
}

/** A translation, written step by step. */
function steps() {
  const { eos_id, max_length } = data.models[state.model];
  const number = result.read.length;
  const ended = result.targets.at(-1) === eos_id || number === max_length;
  const write = (longest) => () => change({ longest, query: (longest ?? Infinity) - 1, key: undefined });
  return [
    button("first", "start again", write(1), { disabled: number === 1 }),
    button("more", "one word more", write(number + 1), { disabled: ended }),
    button("all", "to the end", write(undefined), { disabled: ended }),
  ];
}

const temperature = () => Number(part("temperature").value);
const soft = (logits, i) => maskedSoftmax(logits.row(i).map((score) => score / temperature()));

/** The five likeliest next tokens at the chosen temperature, and the right one if it is not among them. */
function next() {
  const at = position();
  const now = soft(result.logits, at);
  const before = result.before && soft(result.before, at);
  const right = result.targets[at];
  const order = [...now.keys()].sort((a, b) => now[b] - now[a] || a - b).slice(0, 5);
  if (!order.includes(right)) order.push(right);
  return order.map((id) => {
    const token = el("span", { class: "token" }, targetSymbols[id]);
    const number = el("span", { class: "number" }, `${percent(now[id])}${id === right ? " ✓" : ""}`);
    return el("li", { class: id === right ? "right" : "" }, token, bar("track", now[id], before?.[id]), number);
  });
}

/** A map as a picture, one pixel a weight; what is hidden is transparent. */
function picture(weights) {
  const canvas = el("canvas", { width: weights.columns, height: weights.rows });
  const context = canvas.getContext("2d");
  weights.data.forEach((weight, at) => {
    const [i, j] = [Math.floor(at / weights.columns), at % weights.columns];
    context.fillStyle = viridis(weight);
    if (group().visible(i, j)) context.fillRect(j, i, 1, 1);
  });
  return canvas;
}

/** All heads of a layer, small, with four numbers each. */
function maps(heads, layer) {
  const chosen = [...heads.keys(), ...(heads.length > 1 ? ["mean"] : [])];
  const small = chosen.map((head) => {
    const one = { layer, head };
    const weights = weightsOf(one);
    const numbers = measure(weights).map(([name, number]) => el("span", {}, `${name} `, el("b", {}, number)));
    const changed = state.changes.get(keyOf(one));
    const name = `${head === "mean" ? "mean" : `head ${head + 1}`} ${changed ? changed.mode || "cut" : ""}`;
    const style = `top: ${(100 * query()) / weights.rows}%; height: ${100 / weights.rows}%`;
    const more = { class: changed ? "map changed" : "map", "aria-pressed": String(isShown(one)) };
    const image = el("span", { class: "image" }, picture(weights), el("span", { class: "mark", style }));
    const content = [el("span", { class: "name" }, name), image, el("span", { class: "numbers" }, numbers)];
    return button(`map ${layer} ${head}`, content, () => enlarge(one), more);
  });
  return el("div", { class: "layer" }, el("h3", {}, `Layer ${layer + 1}`), small);
}

/** An enlarged map: rows are queries, columns are keys. The arrow keys walk through it, x cuts. */
function grid(index, one, weights) {
  const { queries, keys, visible } = group();
  const cuts = state.changes.get(keyOf(one))?.cuts;
  const kind = (i, j) => (visible(i, j) ? cuts?.has(`${i} ${j}`) && "cut" : "hidden");
  const value = (i, j) => `${queries[i]} looks at ${keys[j]}: ${kind(i, j) || weights.row(i)[j].toFixed(2)}`;
  const picked = (i, j) => i === query() && j === state.key;
  const cell = (i, j) =>
    el("td", {
      "data-id": `cell ${index} ${i} ${j}`,
      tabindex: picked(i, j) ? 0 : -1,
      class: `${kind(i, j) || ""} ${picked(i, j) ? "picked" : ""}`,
      style: `--colour: ${viridis(weights.row(i)[j])}`,
      title: value(i, j),
      "aria-selected": String(picked(i, j)),
      onclick: () => pick(index, i, j),
    });
  const columns = keys.map((key, j) => {
    const name = `${key.length > 2 ? "long" : ""} ${j === state.key ? "picked" : ""}`;
    return el("th", { scope: "col", class: name }, el("span", {}, key));
  });
  const rows = queries.map((token, i) => {
    const cells = keys.map((_, j) => cell(i, j));
    return el("tr", { class: i === query() ? "query" : "" }, el("th", { scope: "row" }, token), cells);
  });
  const onkeydown = (event) => {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (step) pick(index, query() + step[0], state.key + step[1]);
    else if (["x", "Delete"].includes(event.key)) cut(one);
    else return;
    event.preventDefault();
  };
  const more = { role: "grid", "aria-label": `${titleOf(one)}: rows are queries, columns are keys`, onkeydown };
  return el("table", more, el("thead", {}, el("tr", {}, el("td"), columns)), el("tbody", {}, rows));
}

/** Where the query looks: a line to each key, the wider the larger its weight. */
function arcs(weights) {
  const { queries, keys, visible } = group();
  const longest = Math.max(...[...queries, ...keys].map((token) => token.length));
  const [step, left, row] = [21, 7 * longest + 16, weights.row(query())];
  const [right, width, height] = [left + 52, 2 * left + 100, step * Math.max(queries.length, keys.length)];
  const middle = (i) => (i + 0.5) * step;
  const write = (name, x, i, text) => el("text", { class: name, x, y: middle(i) + 4 }, text);
  const drawn = keys.flatMap((key, j) => {
    if (!visible(query(), j)) return write("unseen", right + 5, j, key);
    const [from, to] = [middle(query()), middle(j)];
    const d = `M${left} ${from} C${left + 34} ${from} ${right - 34} ${to} ${right} ${to}`;
    const line = el("path", { d, "stroke-width": 0.6 + 9 * row[j], opacity: 0.3 + 0.6 * row[j] });
    return [line, write("", right + 5, j, key), write("number", width - 5, j, row[j].toFixed(2))];
  });
  const name = write("query", left - 5, query(), queries[query()]);
  return el("svg", { viewBox: `0 0 ${width} ${height}`, width, height, "aria-hidden": "true" }, drawn, name);
}

function panel(one, index) {
  const { queries, keys, visible, layers } = group();
  const weights = weightsOf(one);
  const pin = () => change({ pinned: !state.pinned, shown: state.shown.slice(0, 1) }, false);
  const pinner = button("pin", "pin, to compare", pin, { "aria-pressed": String(state.pinned) });
  const head = el("header", {}, el("h3", {}, titleOf(one)), index === 0 && layers.flat().length > 1 && pinner);
  const look = el("div", { class: "look" }, grid(index, one, weights), arcs(weights));
  if (!data.models || one.head === "mean") return el("article", {}, head, look);
  const { mode = "", cuts } = state.changes.get(keyOf(one)) ?? {};
  const modes = Object.entries(MODES).filter(([name]) => name !== "mean" || layers[one.layer].length > 1);
  const set = choice(`head${index}`, "This head is", modes, mode, (mode) => setChange(one, { mode }));
  const verb = cuts?.has(`${query()} ${state.key}`) ? "mend" : "cut";
  const edge = `${verb} the edge ${queries[query()]} → ${keys[state.key]}`;
  const cutter = button(`cut ${index}`, edge, () => cut(one), { disabled: !visible(query(), state.key) });
  return el("article", {}, head, look, el("div", { class: "tools" }, set, cutter));
}

/** The selection in words, for whoever cannot see it, and for everybody else. */
function inWords() {
  const { queries, keys } = group();
  const parts = state.shown.map((one) => {
    const row = weightsOf(one).row(query());
    const said = (j) => `${quoted(keys[j])} (${row[j].toFixed(2)})`;
    const where = `${data.names[state.kind]}, ${titleOf(one)}: ${quoted(queries[query()])}`;
    return `${where} looks most at ${said(largest(row))}; chosen is ${said(state.key)}.`;
  });
  if (!data.models) return parts.join(" ");
  const share = percent(probability(result.logits, position()));
  return `${parts.join(" ")} Next comes ${quoted(result.written[position() + 1])}, with a probability of ${share}.`;
}

// ---- What the reader does -------------------------------------------------------------------------------------------

function render(focused = document.activeElement?.dataset.id) {
  const kinds = result.kinds.map(({ kind }) => kind);
  if (!kinds.includes(state.kind)) state.kind = kinds.at(-1);
  state.shown = state.shown.filter(({ layer, head }) => group().layers[layer]?.[head === "mean" ? 1 : head]);
  if (!state.shown.length) state.shown = [{ layer: 0, head: 0 }];
  state.key = Math.min(state.key ?? largest(weightsOf(state.shown[0]).row(query())), group().keys.length - 1);
  const show = (id, children) => part(id).replaceChildren(...children.filter(Boolean));
  if (data.models) {
    show("settings", settings());
    show("losses", losses());
    show("steps", translates ? steps() : []);
    show("next", next());
    part("degrees").textContent = temperature().toFixed(1);
    part("context").textContent = `after ${result.read.slice(Math.max(0, position() - 8), position() + 1).join(" ")}`;
  }
  const names = kinds.map((kind) => [kind, data.names[kind]]);
  const look = (kind) => change({ kind, key: undefined }, false);
  show("kinds", kinds.length > 1 ? [choice("kind", "", names, state.kind, look)] : []);
  show("maps", group().layers.map(maps));
  part("looks").style.setProperty("--heads", group().layers[0].length + 1);
  part("near").textContent = near() === "next" ? "the next position" : "the position before";
  const back = button("back", `take back your changes (${state.changes.size})`, () => change({ changes: new Map() }));
  show("changes", state.changes.size ? [back] : []);
  show("panels", state.shown.map(panel));
  part("words").textContent = inWords();
  if (!focused) return;
  const same = document.querySelector(`[data-id="${CSS.escape(focused)}"]`);
  (same ?? document.querySelector("td[tabindex='0']")).focus({ preventScroll: true });
}

function change(update, again = true) {
  Object.assign(state, update);
  if (again) compute();
  render();
}

/** Choose a query; of its keys the one with the largest weight. */
const choose = (query) => change({ query, key: undefined }, false);

function pick(index, i, j) {
  if (i < 0 || j < 0 || i >= group().queries.length || j >= group().keys.length) return;
  Object.assign(state, { query: i, key: j });
  render(`cell ${index} ${i} ${j}`);
}

const enlarge = (one) => change({ shown: state.pinned && !isShown(one) ? [state.shown[0], one] : [one] }, false);

function setChange(one, update) {
  const now = { mode: "", cuts: new Set(), ...state.changes.get(keyOf(one)), ...update };
  state.changes.set(keyOf(one), now);
  if (!now.mode && !now.cuts.size) state.changes.delete(keyOf(one));
  change({});
}

function cut(one) {
  if (!data.models || one.head === "mean" || !group().visible(query(), state.key)) return;
  const cuts = new Set(state.changes.get(keyOf(one))?.cuts);
  if (!cuts.delete(`${query()} ${state.key}`)) cuts.add(`${query()} ${state.key}`);
  setChange(one, { cuts });
}

/** Read what is typed, and show the last query. */
function type() {
  const text = part("text").value;
  const wrong = complaint(text);
  const found = suggestions(text);
  part("suggestions").replaceChildren(...found);
  part("message").textContent = wrong && found.length ? "Go on, or pick a word." : (wrong ?? "");
  part("text").setAttribute("aria-invalid", String(Boolean(wrong && !found.length)));
  if (wrong) return; // what is shown stays the last text that could be read
  change({ ids: split(text).map(idOf), longest: undefined, query: translates ? 0 : Infinity, key: undefined });
}

// ---- The beginning --------------------------------------------------------------------------------------------------

/** Be light or dark as what stands around the frame, and as high as what is in it. */
function fitIn(frame) {
  const dress = () => {
    const colours = [];
    for (let at = frame?.parentElement; at; at = at.parentElement) colours.push(getComputedStyle(at).backgroundColor);
    const numbers = colours.filter((colour) => colour.startsWith("rgb")).map((colour) => colour.match(/[\d.]+/g));
    const [red, green, blue] = numbers.find(([, , , opacity = 1]) => opacity > 0.5) ?? [255, 255, 255];
    document.documentElement.dataset.theme = Number(red) + 2 * green + Number(blue) < 512 ? "dark" : "light";
  };
  dress();
  if (!frame) return;
  const watch = new MutationObserver(dress);
  for (const at of frame.ownerDocument.querySelectorAll("html, body")) watch.observe(at, { attributes: true });
  const fit = () => frame.style.setProperty("height", `${document.documentElement.offsetHeight + 2}px`);
  new ResizeObserver(fit).observe(document.body);
}

/** Take the models' numbers from this view or, as soon as it is there, from another one in the page. */
function load() {
  const numbers = data.models.map((config) => find(config.numbers, window.top));
  part("model").hidden = false;
  if (numbers.includes(undefined)) {
    part("message").textContent = "The model's numbers are in another view of this page: run the cell of that view.";
    return setTimeout(load, 300);
  }
  const classes = { MiniFormer, Transformer };
  window.flycatcher.models = data.models.map((config, i) => new classes[config.class](config, numbers[i]));
  part("text").addEventListener("input", type);
  part("temperature").addEventListener("input", () => change({}, false));
  state.answer = data.models[0].answer;
  type();
  choose(Math.floor(state.ids.length / 2));
}

const carried = [...document.querySelectorAll("script[data-numbers]")].map((one) => [one.dataset.numbers, decode(one)]);
window.flycatcher = { numbers: Object.fromEntries(carried), models: [] };
fitIn(window.frameElement);
if (data.models) {
  part("asks").textContent = translates ? "A sentence" : "A word";
  part("text").value = data.text;
  load();
} else {
  unpackAttention();
  choose(Math.floor(result.kinds[0].queries.length / 2));
}
