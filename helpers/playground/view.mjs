// The view: what the reader sees and does. Data is read as text, never as markup. After each change everything is drawn
// anew; an element that had the focus gets it back, because its `data-id` says which one it is.
import { causalMask, Matrix, MiniFormer, maskedSoftmax, meanOfHeads, Transformer } from "./model.mjs";

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
  temperature: 1,
  kind: "",
  query: { source: 0, target: 0 },
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

/** One of several, as radio buttons: the arrow keys work by themselves. `choose` gets the number of what is chosen. */
function choice(name, legend, options, chosen, choose) {
  const labels = options.map((label, i) => {
    const more = { checked: i === chosen, "data-id": `${name} ${i}`, onchange: () => choose(i) };
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
const COLOURS = "440154 482475 414487 355f8d 2a788e 21918c 22a884 44bf70 7ad151 bddf26 fde725".split(" ");
const VIRIDIS = COLOURS.map((code) => [0, 2, 4].map((at) => Number.parseInt(code.slice(at, at + 2), 16)));

/** The colour of a weight from 0 to 1: [red, green, blue]. */
function viridis(weight) {
  const place = Math.min(Math.max(weight, 0), 1) * (VIRIDIS.length - 1);
  const low = Math.min(Math.floor(place), VIRIDIS.length - 2);
  return VIRIDIS[low].map((value, i) => Math.round(value + (place - low) * (VIRIDIS[low + 1][i] - value)));
}

// ---- What is computed -----------------------------------------------------------------------------------------------

let result; // kinds: [{ kind, layers, queries, keys, visible }]; with a model also read, written, targets, logits, before

function half(bits) {
  const [sign, exponent, fraction] = [bits >> 15 ? -1 : 1, (bits >> 10) & 31, (bits & 1023) / 1024];
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction) : 2 ** -14 * fraction);
}

function decode(element) {
  const { buffer } = Uint8Array.from(atob(element.textContent), (letter) => letter.charCodeAt(0));
  if (element.dataset.kind === "float32") return new Float32Array(buffer);
  return Float32Array.from(new Uint16Array(buffer), element.dataset.kind === "float16" ? half : (n) => n / 65535);
}

/** Find a model's numbers here or in another view of the page. */
function find(name, frame) {
  try {
    if (frame.flycatcher?.numbers[name]) return frame.flycatcher.numbers[name];
  } catch {} // a frame from elsewhere, which may not be asked
  for (let i = 0; i < frame.length; i++) {
    const found = find(name, frame[i]);
    if (found) return found;
  }
}

const unknownId = symbols?.[3] === "<UNK>" ? 3 : -1; // for a word that the vocabulary lacks, where it has one
const idOf = (symbol) => (symbols.indexOf(symbol) < 3 ? unknownId : symbols.indexOf(symbol));
const split = (text) => (data.vocabulary.separator === "" ? [...text] : text.split(/\s+/).filter(Boolean));

/** What is wrong with a text, as a sentence; nothing if the model can read it. */
function complaint(text) {
  const { most } = data.models[state.model];
  const [whole, things] = translates ? ["sentence", "words"] : ["word", "letters"];
  const typed = split(text);
  if (!typed.length) return `Type a ${whole}: an empty one gives nothing to look at.`;
  const unknown = typed.find((symbol) => idOf(symbol) < 0);
  if (unknown !== undefined) {
    const known = symbols.slice(3);
    const those = known.length > 40 ? `${known.length} ${things}` : `the ${things} ${known.join(" ")}`;
    const shown = unknown.length > 24 ? `${unknown.slice(0, 24)}…` : unknown;
    return `The model cannot read ${unknown === " " ? "a space" : quoted(shown)}: it knows ${those}, and no others.`;
  }
  if (typed.length > most) return `That is ${typed.length} ${things}, and the model reads at most ${most}.`;
}

/** Run the model; `written` are tokens to read instead of those that a translator would write itself. */
function run(changes, written) {
  const model = window.flycatcher.models[state.model];
  const read = [model.config.bos_id, ...state.ids];
  const source = translates ? [...read, model.config.eos_id] : read;
  if (translates && !written) return { ...model.generate(source, changes, state.longest), source };
  const tokens = written ?? [...read, model.config.eos_id];
  if (model instanceof MiniFormer) return { ...model.forward(read, changes), source, tokens };
  const past = !translates && !state.answer;
  return { ...model.forward(source, tokens.slice(0, -1), { past, changes }), source, tokens };
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
  const untouched = before && translates ? run(new Map()).tokens.slice(1) : [];
  result = { kinds, read, written, targets: now.tokens.slice(1), logits: now.logits, before, untouched };
}

/** The attention weights that `explore` was given, in the same form. */
function unpackAttention() {
  let last = 0;
  const kinds = data.kinds.map(({ heads, causal, ...kind }) => {
    const [rows, columns] = [kind.queries.length, kind.keys.length];
    const one = () => {
      last += rows * columns;
      return new Matrix(rows, columns, window.flycatcher.numbers.attention.subarray(last - rows * columns, last));
    };
    const layers = heads.map((number) => Array.from({ length: number }, one));
    return { ...kind, layers, visible: causal ? causalMask : () => true };
  });
  result = { kinds };
}

const probability = (logits, i) => maskedSoftmax(logits.row(i))[result.targets[i]];
const group = () => result.kinds.find(({ kind }) => kind === state.kind);
const side = () => (state.kind === "encoder" ? "source" : "target");
const query = () => Math.min(state.query[side()], group().queries.length - 1);
const position = () => Math.min(state.query.target, result.read.length - 1);
const weightsOf = ({ layer, head }) => group().layers[layer]?.[head] ?? meanOfHeads(group().layers[layer]);
const titleOf = ({ layer, head }) =>
  `layer ${layer + 1}, ${head === "mean" ? "mean of the heads" : `head ${head + 1}`}`;
const keyOf = ({ layer, head }) => `${state.kind} ${layer} ${head}`;
const isShown = (one) => state.shown.some((other) => keyOf(other) === keyOf(one));

/** What a map's fourth number is about: the position before; in cross-attention, where an answer would stand. */
function near() {
  if (state.kind !== "cross") return "before";
  return group().queries.join() === group().keys.join() ? "next" : "last";
}

/** The four numbers of a map, each the mean over its queries. */
function measure(weights) {
  const sums = { entropy: [], largest: [], positions: [], [near()]: [] };
  for (let i = 0; i < weights.rows; i++) {
    const row = weights.row(i);
    const entropy = row.reduce((sum, weight) => (weight > 0 ? sum - weight * Math.log(weight) : sum), 0);
    const choices = row.filter((_, j) => group().visible(i, j)).length;
    const at = { before: i - 1, next: i + 1, last: weights.columns - 1 }[near()];
    if (choices > 1) sums.entropy.push(entropy / Math.log(choices));
    sums.largest.push(Math.max(...row));
    sums.positions.push(row.some((weight) => weight > 0) ? Math.exp(entropy) : 0);
    if (at >= 0 && at < weights.columns) sums[near()].push(row[at]);
  }
  const shown = (name, values) => (values.length ? mean(values).toFixed(name === "positions" ? 1 : 2) : "–");
  return Object.entries(sums).map(([name, values]) => [name, shown(name, values)]);
}

// ---- What is shown --------------------------------------------------------------------------------------------------

function settings() {
  const names = data.models.map(({ name }) => name);
  const reads = ["the letters so far: honest", "the whole word: with the answer"];
  const two = window.flycatcher.models[state.model] instanceof Transformer && !translates;
  return [
    names.length > 1 && choice("model", "Model", names, state.model, useModel),
    two && choice("answer", "The encoder reads", reads, Number(state.answer), (i) => change({ answer: i === 1 })),
  ];
}

/** Words that go on as the last one begins. */
function suggestions() {
  const begun = /\S*$/.exec(part("text").value)[0];
  const found = symbols.slice(3).filter((word) => translates && begun && word !== begun && word.startsWith(begun));
  return found.slice(0, 6).map((word) => {
    const pick = () => {
      part("text").value += `${word.slice(begun.length)} `;
      part("text").focus();
      type();
    };
    return button(`suggest ${word}`, word, pick);
  });
}

/** What each letter costs in nats, or how sure a translator is of each word; each button chooses the query before it. */
function losses() {
  const { read, written, logits, before } = result;
  const measured = (from, i) => (translates ? probability(from, i) : -Math.log(probability(from, i)));
  const now = read.map((_, i) => measured(logits, i));
  const was = before && read.map((_, i) => measured(before, i));
  const top = translates ? 1 : Math.max(4, ...now, ...(was ?? []));
  const said = (value) => (translates ? percent(value) : `${value.toFixed(2)} nats`);
  const title = translates ? "The translation, and how sure of each word" : "The loss of each letter";
  const sum = `mean ${said(mean(now))}${was ? `, before your changes ${said(mean(was))}` : ""}`;
  const without = was && `without your changes: ${result.untouched.map((id) => data.target[id]).join(" ")}`;
  part("losses-title").replaceChildren(title, el("small", {}, (translates ? without : sum) ?? ""));
  return now.map((value, i) => {
    const earlier = was ? `, before your changes ${said(was[i])}` : "";
    const label = `${written[i + 1]}, after ${read[i]}: ${said(value)}${earlier}`;
    const more = { "aria-pressed": String(i === position()), "aria-label": label };
    const number = el("span", { class: "number" }, translates ? percent(value) : value.toFixed(1));
    const token = el("span", { class: written[i + 1].length > 3 ? "long token" : "token" }, written[i + 1]);
    const content = [number, bar("box", value / top, was && was[i] / top), token];
    return button(`letter ${i}`, content, () => choose("target", i), more);
  });
}

/** A translation, written step by step. */
function steps() {
  const { eos_id, max_length } = data.models[state.model];
  const number = result.read.length;
  const ended = result.targets.at(-1) === eos_id || number === max_length;
  const write = (longest) => () => {
    change({ longest, query: { ...state.query, target: (longest ?? Infinity) - 1 }, key: undefined });
  };
  return [
    button("first", "start again", write(1), { disabled: number === 1 }),
    button("less", "one word back", write(number - 1), { disabled: number === 1 }),
    button("more", "one word more", write(number + 1), { disabled: ended }),
    button("all", "to the end", write(undefined), { disabled: ended }),
  ];
}

const soft = (logits, i) => maskedSoftmax(logits.row(i).map((score) => score / state.temperature));

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
  const image = new ImageData(weights.columns, weights.rows);
  weights.data.forEach((weight, at) => {
    const seen = group().visible(Math.floor(at / weights.columns), at % weights.columns);
    image.data.set([...viridis(weight), seen ? 255 : 0], at * 4);
  });
  canvas.getContext("2d").putImageData(image, 0, 0);
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
  const title = `Layer ${layer + 1}`;
  return el("div", { class: "layer", role: "group", "aria-label": title }, el("h3", {}, title), small);
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
      style: `--colour: rgb(${viridis(weights.row(i)[j])})`,
      title: value(i, j),
      "aria-label": value(i, j),
      "aria-selected": String(picked(i, j)),
      onclick: () => pick(index, i, j),
    });
  const columns = keys.map((key, j) => {
    const name = `${key.length > 2 ? "long" : ""} ${j === state.key ? "picked" : ""}`;
    return el("th", { scope: "col", class: name, onclick: () => pick(index, query(), j) }, el("span", {}, key));
  });
  const rows = queries.map((token, i) => {
    const header = el("th", { scope: "row", onclick: () => pick(index, i, state.key) }, token);
    const cells = keys.map((_, j) => cell(i, j));
    return el("tr", { class: i === query() ? "query" : "" }, header, cells);
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
  const short = (token) => (token.length > 10 ? `${token.slice(0, 9)}…` : token);
  const longest = Math.max(...[...queries, ...keys].map((token) => short(token).length));
  const [step, left] = [21, Math.max(34, 7 * longest + 16)];
  const [right, width] = [left + 52, left + 52 + Math.max(84, 7 * longest + 46)];
  const middle = (i) => (i + 0.5) * step;
  const row = weights.row(query());
  const drawn = keys.flatMap((key, j) => {
    const seen = visible(query(), j);
    const token = el("text", { class: seen ? "" : "unseen", x: right + 5, y: middle(j) + 4 }, short(key));
    if (!seen) return token;
    const [from, to] = [middle(query()), middle(j)];
    const d = `M${left} ${from} C${left + 34} ${from} ${right - 34} ${to} ${right} ${to}`;
    const size = { x: right, y: to - 9, width: 2 + row[j] * (width - right - 2), height: 18, rx: 3 };
    return [
      el("path", { d, "stroke-width": 0.6 + 9 * row[j], opacity: 0.3 + 0.6 * row[j] }),
      el("rect", { class: "weight", ...size }),
      token,
      el("text", { class: "number", x: width - 5, y: to + 4 }, row[j].toFixed(2)),
    ];
  });
  const height = step * Math.max(queries.length, keys.length);
  const pill = el("rect", { class: "pill", x: 0, y: middle(query()) - 10, width: left, height: 20, rx: 10 });
  const name = el("text", { class: "query", x: left / 2, y: middle(query()) + 4 }, short(queries[query()]));
  return el("svg", { viewBox: `0 0 ${width} ${height}`, width, height, "aria-hidden": "true" }, drawn, pill, name);
}

function panel(one, index) {
  const { queries, keys, visible, layers } = group();
  const weights = weightsOf(one);
  const close = () => change({ shown: [state.shown[1 - index]] }, false);
  const pin = () => change({ pinned: !state.pinned }, false);
  const pinning = state.pinned ? "pinned: choose another" : "pin, to compare";
  const alone = layers.length === 1 && layers[0].length === 1;
  const pinner = alone ? "" : button("pin", pinning, pin, { "aria-pressed": String(state.pinned) });
  const closer = state.shown.length > 1 ? button(`close ${index}`, "close", close) : pinner;
  const head = el("header", {}, el("h3", {}, titleOf(one)), closer);
  const look = el("div", { class: "look" }, grid(index, one, weights), arcs(weights));
  if (!data.models || one.head === "mean") return el("article", {}, head, look);
  const { mode = "", cuts } = state.changes.get(keyOf(one)) ?? {};
  const modes = Object.keys(MODES).filter((name) => name !== "mean" || layers[one.layer].length > 1);
  const setMode = (i) => setChange(one, { mode: modes[i] });
  const verb = cuts?.has(`${query()} ${state.key}`) ? "mend" : "cut";
  const edge = `${verb} the edge ${queries[query()]} → ${keys[state.key]}`;
  const labels = modes.map((name) => MODES[name]);
  const set = choice(`head${index}`, "This head is", labels, modes.indexOf(mode), setMode);
  const cutter = button(`cut ${index}`, edge, () => cut(one), { disabled: !visible(query(), state.key) });
  return el("article", {}, head, look, el("div", { class: "tools" }, set, cutter));
}

/** What the reader has changed, each with a button that takes it back. */
function changes() {
  if (!state.changes.size) return [];
  const chips = [...state.changes].map(([key, { mode, cuts }]) => {
    const [kind, layer, head] = key.split(" ");
    const edges = cuts.size && `${cuts.size} edge${cuts.size > 1 ? "s" : ""} cut`;
    const what = [mode && MODES[mode], edges].filter(Boolean).join(", ");
    const name = `${data.names[kind]}, ${titleOf({ layer: Number(layer), head: Number(head) })}: ${what}`;
    return button(`back ${key}`, `${name} ✕`, () => takeBack(key), { "aria-label": `take back ${name}` });
  });
  const all = button("back", "take everything back", () => takeBack(), { class: "all" });
  return [el("b", {}, "Your changes"), chips, all].flat();
}

/** The selection in words, for whoever cannot see it, and for everybody else. */
function inWords() {
  const { queries, keys } = group();
  const parts = state.shown.map((one) => {
    const row = weightsOf(one).row(query());
    const said = (j) => `${quoted(keys[j])} (${row[j].toFixed(2)})`;
    const order = [...row.keys()].filter((j) => row[j] > 0).sort((a, b) => row[b] - row[a] || a - b);
    const most = order.length ? `most at ${order.slice(0, 2).map(said).join(" and ")}` : "at nothing";
    const where = `${data.names[state.kind]}, ${titleOf(one)}: ${quoted(queries[query()])}`;
    return `${where} looks ${most}; chosen is ${said(state.key)}.`;
  });
  if (!data.models) return parts.join(" ");
  const at = position();
  const p = probability(result.logits, at);
  const [last, token] = [quoted(result.read[at]), quoted(result.written[at + 1])];
  return `${parts.join(" ")} After ${last} comes ${token}: probability ${percent(p)}, ${(-Math.log(p)).toFixed(2)} nats.`;
}

// ---- What the reader does -------------------------------------------------------------------------------------------

function render(focused = document.activeElement?.dataset.id) {
  const kinds = result.kinds.map(({ kind }) => kind);
  const wanted = translates || state.answer ? "cross" : "decoder";
  if (!kinds.includes(state.kind)) state.kind = kinds.includes(wanted) ? wanted : kinds[0];
  const there = ({ layer, head }) => group().layers[layer]?.[head === "mean" ? 1 : head];
  state.shown = state.shown.filter(there);
  if (!state.shown.length) state.shown = [{ layer: 0, head: 0 }];
  state.key = Math.min(state.key ?? largest(weightsOf(state.shown[0]).row(query())), group().keys.length - 1);
  const show = (id, children) => part(id).replaceChildren(...children.filter(Boolean));
  if (data.models) {
    show("settings", settings());
    show("losses", losses());
    show("steps", translates ? steps() : []);
    show("next", next());
    const context = result.read.slice(0, position() + 1);
    part("context").textContent = `after ${context.slice(-9).join(translates ? " " : "\u2009")}`;
  }
  const names = kinds.map((kind) => data.names[kind]);
  const look = (i) => change({ kind: kinds[i], key: undefined }, false);
  show("kinds", kinds.length > 1 ? [choice("kind", "", names, kinds.indexOf(state.kind), look)] : []);
  show("maps", group().layers.map(maps));
  part("looks").style.setProperty("--heads", group().layers[0].length + 1);
  part("near").textContent = { before: "the position before", next: "the next letter", last: "the last word" }[near()];
  show("changes", changes());
  show("panels", state.shown.map(panel));
  part("words").textContent = inWords();
  document.body.classList.toggle("two", state.shown.length > 1);
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
const choose = (which, i) => change({ query: { ...state.query, [which]: i }, key: undefined }, false);

function pick(index, i, j) {
  if (i < 0 || j < 0 || i >= group().queries.length || j >= group().keys.length) return;
  Object.assign(state, { query: { ...state.query, [side()]: i }, key: j });
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

function takeBack(key) {
  if (key) state.changes.delete(key);
  else state.changes.clear();
  change({});
}

function useModel(model) {
  const { answer, most } = data.models[model];
  change({ model, answer, changes: new Map(), kind: "", ids: state.ids.slice(0, most), key: undefined });
  type(undefined, state.query.target);
}

/** Draw the next letter from the bars of the last position, and write it. */
function draw() {
  let rest = Math.random();
  const id = soft(result.logits, result.read.length - 1).findIndex((share) => {
    rest -= share;
    return rest < 0;
  });
  if (id >= 3) part("text").value += symbols[id];
  type();
  if (id < 3) part("message").textContent = "The model drew the end of the word.";
}

/** Read what is typed, and show the last query or the one that is asked for. */
function type(_, target) {
  const text = part("text").value;
  const wrong = complaint(text);
  const found = suggestions();
  part("suggestions").replaceChildren(...found);
  part("message").textContent = wrong && found.length ? "Go on, or pick a word:" : (wrong ?? "");
  part("text").setAttribute("aria-invalid", String(Boolean(wrong && !found.length)));
  document.body.classList.toggle("stale", Boolean(wrong)); // what is shown is the last text that could be read
  if (wrong) return;
  const ids = split(text).map(idOf);
  const query = { source: ids.length, target: target ?? (translates ? 0 : ids.length) };
  change({ ids, longest: undefined, query, key: undefined });
}

// ---- The beginning --------------------------------------------------------------------------------------------------

/** Be light or dark as what stands around the frame, and as high as what is in it. */
function fitIn(frame) {
  const dress = () => {
    let theme = "light";
    for (let at = frame?.parentElement; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      const [red, green, blue, opacity = 1] = colour.startsWith("rgb")
        ? colour.match(/[\d.]+/g).map(Number)
        : [0, 0, 0, 0];
      if (opacity > 0.5) {
        theme = red + 2 * green + blue < 512 ? "dark" : "light";
        break;
      }
    }
    document.documentElement.dataset.theme = theme;
  };
  dress();
  if (!frame) return;
  const outside = frame.ownerDocument;
  const watch = new MutationObserver(dress);
  for (const at of [outside.documentElement, outside.body]) watch.observe(at, { attributes: true });
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
  part("draw").addEventListener("click", draw);
  part("temperature").addEventListener("input", ({ target }) => {
    part("degrees").textContent = Number(target.value).toFixed(1);
    change({ temperature: Number(target.value) }, false);
  });
  state.answer = data.models[0].answer;
  type(undefined, Math.floor(split(data.text).length / 2));
}

window.flycatcher = { numbers: {}, models: [] };
for (const element of document.querySelectorAll("script[data-numbers]")) {
  window.flycatcher.numbers[element.dataset.numbers] = decode(element);
}
fitIn(window.frameElement);
if (data.models) {
  part("asks").textContent = translates ? "A sentence" : "A word";
  part("text").value = data.text;
  part("draw").hidden = translates;
  load();
} else {
  unpackAttention();
  state.query.source = state.query.target = Math.floor(result.kinds[0].queries.length / 2);
  change({ key: undefined }, false);
}
