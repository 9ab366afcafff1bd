// The models of helpers/transformer.py, forward only, for one sequence at a time. Names and order follow
// helpers/attention.py, helpers/layers.py and helpers/transformer.py, so that a reader of one can read the other.
//
// `changes` is what the reader of the page changes: a Map from "kind layer head" (both from 0) to
// { mode, cuts }: mode is "", "off", "even" or "mean", cuts a Set of "query key". No entry: as trained.

/** Numbers in rows and columns: T vectors of d_model numbers, a weight, or one head's attention weights (T_q, T_k). */
export class Matrix {
  constructor(rows, columns, data = new Float32Array(rows * columns)) {
    Object.assign(this, { rows, columns, data });
  }

  row(i) {
    return this.data.subarray(i * this.columns, (i + 1) * this.columns);
  }
}

/** Make a matrix whose number in row i and column j is `number(i, j)`. */
export function fill(rows, columns, number) {
  const made = new Matrix(rows, columns);
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) made.data[i * columns + j] = number(i, j);
  }
  return made;
}

/** The sum of x[from + k] · y[to + k] over `length` places k. */
function dot(x, from, y, to, length) {
  let sum = 0;
  for (let k = 0; k < length; k++) sum += x[from + k] * y[to + k];
  return sum;
}

const add = (x, y) => fill(x.rows, x.columns, (i, j) => x.data[i * x.columns + j] + y.data[i * x.columns + j]);

/** x Wᵀ + b, as `nn.Linear`. (T, in) → (T, out) */
export function linear(x, { weight, bias }) {
  const width = x.columns;
  const start = bias?.data ?? new Float32Array(weight.rows);
  return fill(x.rows, weight.rows, (i, j) => start[j] + dot(x.data, i * width, weight.data, j * width, width));
}

/** As `nn.LayerNorm`; without parameters, as `nn.Identity`. (T, d_model) → (T, d_model) */
export function layerNorm(x, parameters) {
  if (!parameters) return x;
  const y = new Matrix(x.rows, x.columns);
  for (let i = 0; i < x.rows; i++) {
    const row = x.row(i);
    const mean = row.reduce((sum, value) => sum + value, 0) / x.columns;
    const variance = row.reduce((sum, value) => sum + (value - mean) ** 2, 0) / x.columns;
    const { weight, bias } = parameters;
    const scale = 1 / Math.sqrt(variance + 1e-5);
    y.row(i).set(row.map((value, j) => (value - mean) * scale * weight.data[j] + bias.data[j]));
  }
  return y;
}

/** softmax over the numbers that `visible` allows; zero elsewhere, and throughout where it allows nothing. */
export function maskedSoftmax(scores, visible = () => true) {
  const allowed = Float64Array.from(scores, (score, j) => (visible(j) ? score : -Infinity));
  const largest = allowed.reduce((most, score) => Math.max(most, score), -Infinity);
  if (largest === -Infinity) return allowed.fill(0);
  const powers = allowed.map((score) => Math.exp(score - largest));
  const sum = powers.reduce((total, power) => total + power, 0);
  return powers.map((power) => power / sum);
}

/** Row i may see columns 0 to i. */
export const causalMask = (i, j) => j <= i;

/** The embedding times √d_model plus the positions, from `first` on: sines in even columns, cosines in odd ones. */
export function tokenEmbedding(tokens, { embedding: { weight } }, first = 0) {
  const width = weight.columns;
  const rates = Float64Array.from({ length: width }, (_, j) => 10000 ** -((j - (j % 2)) / width));
  const position = (i, j) => (j % 2 ? Math.cos : Math.sin)((first + i) * rates[j]);
  return fill(tokens.length, width, (i, j) => weight.row(tokens[i])[j] * Math.sqrt(width) + position(i, j));
}

/** The mean of the weights of a layer's heads. */
export function meanOfHeads(heads) {
  const [{ rows, columns }] = heads;
  return fill(rows, columns, (i, j) => heads.reduce((sum, head) => sum + head.data[i * columns + j], 0) / heads.length);
}

/**
 * Attend with every head, as `MultiHeadAttention`; `visible(head)` is what it may see, `mode(head)` how it is changed.
 * A head that is off has no weights, an even one the same on all it may see.
 * Returns the output (T_q, d_model) and a list with the weights of each head.
 */
export function multiHeadAttention(p, heads, query, memory, visible, mode) {
  const [q, k, v] = [linear(query, p.query_proj), linear(memory, p.key_proj), linear(memory, p.value_proj)];
  const [size, width] = [q.columns, q.columns / heads];
  const trained = Array.from({ length: heads }, (_, head) => {
    const [first, sees] = [head * width, visible(head)];
    const score = (i, j) => dot(q.data, i * size + first, k.data, j * size + first, width) / Math.sqrt(width);
    const weights = fill(q.rows, k.rows, mode(head) === "even" ? () => 0 : score);
    for (let i = 0; i < q.rows; i++) weights.row(i).set(maskedSoftmax(weights.row(i), (j) => sees(i, j)));
    return weights;
  });
  const changed = { off: () => new Matrix(q.rows, k.rows), mean: () => meanOfHeads(trained) };
  const weights = trained.map((asTrained, head) => changed[mode(head)]?.() ?? asTrained);
  const output = fill(q.rows, size, (i, column) => {
    const row = weights[Math.floor(column / width)].row(i);
    return row.reduce((sum, weight, j) => sum + weight * v.data[j * size + column], 0);
  });
  return [linear(output, p.out_proj), weights];
}

function feedForward(x, p) {
  const hidden = linear(x, p[0]);
  hidden.data = hidden.data.map((value) => Math.max(0, value));
  return linear(hidden, p[2]);
}

/** A sublayer inside its residual connection: the norm before it (pre-norm), or after the sum, as in the paper. */
function residual(x, norm, normFirst, sublayer) {
  return normFirst ? add(x, sublayer(layerNorm(x, norm))) : layerNorm(add(x, sublayer(x)), norm);
}

/** Read the tensors that `helpers.playground` has written: "a.b.weight" becomes parameters.a.b.weight. */
export function unpack(tensors, numbers) {
  const parameters = {};
  let first = 0;
  for (const [name, rows, columns] of tensors) {
    let place = parameters;
    const path = name.split(".");
    for (const part of path.slice(0, -1)) place = place[part] ??= {};
    place[path.at(-1)] = new Matrix(rows, columns, numbers.subarray(first, first + rows * columns));
    first += rows * columns;
  }
  return parameters;
}

class Model {
  constructor(config, numbers) {
    this.config = config;
    this.parameters = unpack(config.tensors, numbers);
  }

  /** Which keys a query may see: those that are no padding and, if `past`, none that comes later. */
  mask(tokens, past) {
    return (i, j) => tokens[j] !== this.config.pad_id && (!past || causalMask(i, j));
  }

  /**
   * Run a stack of layers; a decoder has a memory. While it generates, x holds the position `first` alone, and `kept` what
   * the layers' self-attention has read at those before. Returns x and one list of layers' weights for each kind.
   */
  stack(layers, x, kinds, visible, changes, { memory, kept, first = 0 } = {}) {
    const { num_heads: heads, norm_first: normFirst } = this.config;
    const attention = kinds.map(() => []);
    Object.values(layers).forEach((p, layer) => {
      const attend = (which, parameters, query, keys) => {
        const change = (head) => changes.get(`${kinds[which]} ${layer} ${head}`);
        const sees = (head) => (i, j) => visible[which](first + i, j) && !change(head)?.cuts.has(`${first + i} ${j}`);
        const [output, weights] = multiHeadAttention(
          parameters,
          heads,
          query,
          keys,
          sees,
          (head) => change(head)?.mode,
        );
        attention[which].push(weights);
        return output;
      };
      const soFar = (y) => {
        if (!kept) return y;
        kept[layer] = Float32Array.of(...(kept[layer] ?? []), ...y.data);
        return new Matrix(first + 1, y.columns, kept[layer]);
      };
      x = residual(x, p.norm_1, normFirst, (y) => attend(0, p.self_attention, y, soFar(y)));
      if (memory) x = residual(x, p.norm_2, normFirst, (y) => attend(1, p.cross_attention, y, memory));
      x = residual(x, memory ? p.norm_3 : p.norm_2, normFirst, (y) => feedForward(y, p.feed_forward));
    });
    return [x, ...attention];
  }
}

export class MiniFormer extends Model {
  /** Return logits (T, V), attention by kind (layers of heads), and which cells each kind may see. */
  forward(tokens, changes = new Map()) {
    const p = this.parameters;
    const visible = { self: this.mask(tokens, true) };
    const [x, self] = this.stack(p.layers, tokenEmbedding(tokens, p.embed), ["self"], [visible.self], changes);
    return { logits: linear(layerNorm(x, p.norm), p.output), attention: { self }, visible };
  }
}

export class Transformer extends Model {
  /** As MiniFormer's; with `past`, encoder and cross-attention see no later position, the two masks of chapter 5. */
  forward(source, target, { past = false, changes = new Map() } = {}) {
    return this.decode(target, this.encode(source, past, changes), changes);
  }

  encode(source, past, changes) {
    const p = this.parameters;
    const visible = this.mask(source, past);
    const x = tokenEmbedding(source, p.source_embed ?? p.target_embed);
    const [memory, encoder] = this.stack(p.encoder_layers, x, ["encoder"], [visible], changes);
    return { memory: layerNorm(memory, p.encoder_norm), encoder, visible };
  }

  /** Predict what follows each target token; with `kept`, what follows the last one. */
  decode(target, { memory, encoder, visible: sourceSeen }, changes, kept) {
    const p = this.parameters;
    const first = kept ? target.length - 1 : 0;
    const visible = { encoder: sourceSeen, decoder: this.mask(target, true), cross: sourceSeen };
    const seen = [visible.decoder, visible.cross];
    const start = tokenEmbedding(target.slice(first), p.target_embed, first);
    const more = { memory, kept, first };
    const [x, decoder, cross] = this.stack(p.decoder_layers, start, ["decoder", "cross"], seen, changes, more);
    const output = this.config.tied ? p.target_embed.embedding : p.output;
    return { logits: linear(layerNorm(x, p.decoder_norm), output), attention: { encoder, decoder, cross }, visible };
  }

  /** Translate greedily, the likeliest token at each step, until <EOS> or `longest` tokens are there. */
  generate(source, changes = new Map(), longest = this.config.max_length) {
    const { bos_id, eos_id, pad_id } = this.config;
    const encoded = this.encode(source, false, changes);
    const [tokens, kept] = [[bos_id], []];
    while (tokens.length <= longest && tokens.at(-1) !== eos_id) {
      const scores = this.decode(tokens, encoded, changes, kept).logits.data;
      const allowed = scores.map((score, id) => (id === bos_id || id === pad_id ? -Infinity : score));
      tokens.push(allowed.indexOf(allowed.reduce((most, score) => Math.max(most, score), -Infinity)));
    }
    return { ...this.decode(tokens.slice(0, -1), encoded, changes), tokens };
  }
}
