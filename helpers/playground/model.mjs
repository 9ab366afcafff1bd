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

const add = (x, y) => fill(x.rows, x.columns, (i, j) => x.data[i * x.columns + j] + y.data[i * x.columns + j]);

/** x Wᵀ + b, as `nn.Linear`. (T, in) → (T, out) */
export function linear(x, { weight, bias }) {
  const y = new Matrix(x.rows, weight.rows);
  const [from, numbers, width] = [x.data, weight.data, x.columns];
  for (let i = 0; i < y.rows; i++) {
    for (let j = 0; j < y.columns; j++) {
      let sum = bias ? bias.data[j] : 0;
      for (let k = 0; k < width; k++) sum += from[i * width + k] * numbers[j * width + k];
      y.data[i * y.columns + j] = sum;
    }
  }
  return y;
}

/** As `nn.LayerNorm`; without parameters, as `nn.Identity`. (T, d_model) → (T, d_model) */
export function layerNorm(x, parameters) {
  if (!parameters) return x;
  const rows = Array.from({ length: x.rows }, (_, i) => {
    const mean = x.row(i).reduce((sum, value) => sum + value, 0) / x.columns;
    const variance = x.row(i).reduce((sum, value) => sum + (value - mean) ** 2, 0) / x.columns;
    return [mean, 1 / Math.sqrt(variance + 1e-5)];
  });
  const { weight, bias } = parameters;
  return fill(x.rows, x.columns, (i, j) => {
    const [mean, scale] = rows[i];
    return (x.data[i * x.columns + j] - mean) * scale * weight.data[j] + bias.data[j];
  });
}

/** softmax over the numbers that `visible` allows; zero elsewhere, and throughout where it allows nothing. */
export function maskedSoftmax(scores, visible = () => true) {
  const weights = new Float64Array(scores.length);
  let [largest, sum] = [-Infinity, 0];
  for (let j = 0; j < scores.length; j++) if (visible(j) && scores[j] > largest) largest = scores[j];
  for (let j = 0; j < scores.length; j++) if (visible(j)) sum += weights[j] = Math.exp(scores[j] - largest);
  for (let j = 0; j < scores.length && sum; j++) weights[j] /= sum;
  return weights;
}

/** Row i may see columns 0 to i. */
export const causalMask = (i, j) => j <= i;

/** Even columns hold sines, odd ones cosines; their wavelengths grow from 2π to 10000 · 2π. */
export function sinusoidalEncoding(length, width, first = 0) {
  const rates = Float64Array.from({ length: width }, (_, j) => 10000 ** -((j - (j % 2)) / width));
  return fill(length, width, (i, j) => (j % 2 ? Math.cos : Math.sin)((first + i) * rates[j]));
}

/** The embedding times √d_model plus the positions; the first of the tokens stands at position `first`. */
export function tokenEmbedding(tokens, { embedding: { weight } }, first = 0) {
  const width = weight.columns;
  const vectors = fill(tokens.length, width, (i, j) => weight.data[tokens[i] * width + j] * Math.sqrt(width));
  return add(vectors, sinusoidalEncoding(tokens.length, width, first));
}

/** Every head's keys and values, behind those that a cache has kept from earlier positions. */
function project(p, memory, kept) {
  const join = (old, { rows, columns, data }) =>
    old ? new Matrix(old.rows + rows, columns, Float32Array.of(...old.data, ...data)) : new Matrix(rows, columns, data);
  return { key: join(kept?.key, linear(memory, p.key_proj)), value: join(kept?.value, linear(memory, p.value_proj)) };
}

/**
 * Attend with every head, as `MultiHeadAttention`; `change(head)` is what the reader changed.
 * A cut edge is hidden like a masked one; a head that is off has no weights, an even one the same on all it may see.
 * The first query stands at position `first`. Returns the output (T_q, d_model) and a list with the weights of each head.
 */
export function multiHeadAttention(p, heads, query, { key: k, value: v }, visible, change, first = 0) {
  const q = linear(query, p.query_proj);
  const width = q.columns / heads;
  const dots = (head, i, j) => {
    const [at, other] = [i * q.columns + head * width, j * q.columns + head * width];
    let sum = 0;
    for (let d = 0; d < width; d++) sum += q.data[at + d] * k.data[other + d];
    return sum / Math.sqrt(width);
  };
  const attend = (head, score) => {
    const cuts = change(head)?.cuts;
    const weights = fill(q.rows, k.rows, (i, j) => score(head, i, j));
    for (let i = 0; i < q.rows; i++) {
      const sees = (j) => visible(first + i, j) && !(cuts?.size && cuts.has(`${first + i} ${j}`));
      weights.row(i).set(maskedSoftmax(weights.row(i), sees));
    }
    return weights;
  };
  const trained = Array.from({ length: heads }, (_, head) => attend(head, dots));
  const changed = {
    off: () => new Matrix(q.rows, k.rows),
    even: (head) => attend(head, () => 0),
    mean: () => meanOfHeads(trained),
  };
  const weights = trained.map((asTrained, head) => changed[change(head)?.mode]?.(head) ?? asTrained);
  const output = fill(q.rows, q.columns, (i, column) => {
    const row = weights[Math.floor(column / width)].data;
    let sum = 0;
    for (let j = 0; j < v.rows; j++) sum += row[i * v.rows + j] * v.data[j * v.columns + column];
    return sum;
  });
  return [linear(output, p.out_proj), weights];
}

/** The mean of the weights of a layer's heads. */
export function meanOfHeads(heads) {
  const [{ rows, columns }] = heads;
  return fill(rows, columns, (i, j) => heads.reduce((sum, head) => sum + head.data[i * columns + j], 0) / heads.length);
}

function feedForward(x, p) {
  const hidden = linear(x, p[0]);
  return linear(
    fill(hidden.rows, hidden.columns, (i, j) => Math.max(0, hidden.data[i * hidden.columns + j])),
    p[2],
  );
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
    const path = name.split(".");
    const last = path.pop();
    const place = path.reduce((at, part) => {
      at[part] ??= {};
      return at[part];
    }, parameters);
    place[last] = new Matrix(rows, columns, numbers.subarray(first, first + rows * columns));
    first += rows * columns;
  }
  return parameters;
}

class Model {
  constructor(config, numbers) {
    this.config = config;
    this.parameters = unpack(config.tensors, numbers);
  }

  isReal(token) {
    return token !== this.config.pad_id;
  }

  /**
   * Run a stack of layers; a decoder has a memory and, while it generates, a cache of the positions before the `first`.
   * Returns x and one list of layers' weights for each kind.
   */
  stack(layers, x, kinds, visible, changes, { memory, cache, first } = {}) {
    const { num_heads: heads, norm_first: normFirst } = this.config;
    const attention = kinds.map(() => []);
    Object.values(layers).forEach((p, layer) => {
      const attend = (which, parameters, query) => {
        const name = `${kinds[which]} ${layer}`;
        const change = (head) => changes.get(`${name} ${head}`);
        const kept = cache?.get(name);
        const keys = which && kept ? kept : project(parameters, which ? memory : query, kept);
        cache?.set(name, keys);
        const [output, weights] = multiHeadAttention(parameters, heads, query, keys, visible[which], change, first);
        attention[which].push(weights);
        return output;
      };
      x = residual(x, p.norm_1, normFirst, (y) => attend(0, p.self_attention, y));
      if (memory) x = residual(x, p.norm_2, normFirst, (y) => attend(1, p.cross_attention, y));
      x = residual(x, memory ? p.norm_3 : p.norm_2, normFirst, (y) => feedForward(y, p.feed_forward));
    });
    return [x, ...attention];
  }
}

export class MiniFormer extends Model {
  /** Return logits (T, V), attention by kind (layers of heads), and which cells each kind may see. */
  forward(tokens, changes = new Map()) {
    const p = this.parameters;
    const visible = (i, j) => causalMask(i, j) && this.isReal(tokens[j]);
    const [x, self] = this.stack(p.layers, tokenEmbedding(tokens, p.embed), ["self"], [visible], changes);
    return { logits: linear(layerNorm(x, p.norm), p.output), attention: { self }, visible: { self: visible } };
  }
}

export class Transformer extends Model {
  /** As MiniFormer's; with `past`, encoder and cross-attention see no later position, the two masks of chapter 5. */
  forward(source, target, { past = false, changes = new Map() } = {}) {
    return this.decode(target, this.encode(source, past, changes), changes);
  }

  encode(source, past, changes) {
    const p = this.parameters;
    const visible = (i, j) => this.isReal(source[j]) && (!past || causalMask(i, j));
    const x = tokenEmbedding(source, p.source_embed ?? p.target_embed);
    const [memory, encoder] = this.stack(p.encoder_layers, x, ["encoder"], [visible], changes);
    return { memory: layerNorm(memory, p.encoder_norm), encoder, visible };
  }

  /** Predict what follows each target token; with a cache, what follows the last, the others being in the cache. */
  decode(target, { memory, encoder, visible: sourceSeen }, changes, cache) {
    const p = this.parameters;
    const targetSeen = (i, j) => causalMask(i, j) && this.isReal(target[j]);
    const first = cache ? target.length - 1 : 0;
    const start = tokenEmbedding(target.slice(first), p.target_embed, first);
    const [kinds, seen] = [
      ["decoder", "cross"],
      [targetSeen, sourceSeen],
    ];
    const more = { memory, cache, first };
    const [x, decoder, cross] = this.stack(p.decoder_layers, start, kinds, seen, changes, more);
    const output = this.config.tied ? p.target_embed.embedding : p.output;
    return {
      logits: linear(layerNorm(x, p.decoder_norm), output),
      attention: { encoder, decoder, cross },
      visible: { encoder: sourceSeen, decoder: targetSeen, cross: sourceSeen },
    };
  }

  /** Translate greedily, the likeliest token at each step, until <EOS> or `longest` tokens are there. */
  generate(source, changes = new Map(), longest = this.config.max_length) {
    const { bos_id, eos_id, pad_id } = this.config;
    const encoded = this.encode(source, false, changes);
    const [tokens, cache] = [[bos_id], new Map()];
    while (tokens.length <= longest && tokens.at(-1) !== eos_id) {
      const scores = this.decode(tokens, encoded, changes, cache).logits.data;
      const allowed = scores.map((score, id) => (id === bos_id || id === pad_id ? -Infinity : score));
      tokens.push(allowed.indexOf(allowed.reduce((most, score) => Math.max(most, score), -Infinity)));
    }
    return { ...this.decode(tokens.slice(0, -1), encoded, changes), tokens };
  }
}
