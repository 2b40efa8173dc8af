// TF Serving's REST API: https://www.tensorflow.org/tfx/serving/api_rest

const SECONDS = 120; // that an answer may take: a model of diffusion needs its time

/** What the server, or the network, says in words. */
export class ServerError extends Error {
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

/** A JSON document of the server; the address is relative, so that a proxy may have a prefix. */
async function ask(path, { body, signal } = {}) {
  const limit = AbortSignal.timeout(SECONDS * 1000);
  const options = { signal: signal ? AbortSignal.any([signal, limit]) : limit };
  if (body) {
    options.method = "POST";
    options.headers = { "Content-Type": "application/json" };
    options.body = JSON.stringify(body);
  }
  let response, text;
  try {
    response = await fetch(path, options);
    text = await response.text();
  } catch (error) {
    if (signal?.aborted) throw error;
    if (limit.aborted) {
      throw new ServerError(`The server did not answer within ${SECONDS} seconds.`);
    }
    throw new ServerError("The server cannot be reached. Is it running?");
  }
  let answer = null;
  try {
    answer = JSON.parse(text);
  } catch {
    // Said below.
  }
  if (!response.ok) {
    const words = answer?.error
      ? `The server says: ${answer.error}`
      : `The server answered ${response.status} ${response.statusText}.`;
    throw new ServerError(words, response.status);
  }
  if (answer === null) {
    throw new ServerError("The server's answer cannot be read: it is not JSON.", response.status);
  }
  return answer;
}

/**
 * The names of the models, or null of a server that does not list them, as TF Serving itself, or
 * behind a proxy that answers with a page of its own.
 */
export async function modelNames(signal) {
  try {
    const { models } = await ask("v1/models", { signal });
    return Array.isArray(models) ? models : null;
  } catch (error) {
    if (error.status >= 200 && error.status < 500) return null;
    throw error;
  }
}

/** A model at the server, as its metadata describe it. */
export class Model {
  static async open(name, signal) {
    const path = `v1/models/${encodeURIComponent(name)}`;
    const answer = await ask(`${path}/metadata`, { signal });
    const definitions = answer.metadata?.signature_def?.signature_def ?? {};
    const signatures = {};
    for (const [signature, { inputs, outputs }] of Object.entries(definitions)) {
      signatures[signature] = { inputs: shapes(inputs), outputs: shapes(outputs) };
    }
    return new Model(name, path, answer.model_spec?.version, signatures);
  }

  constructor(name, path, version, signatures) {
    this.name = name;
    this.path = path;
    this.version = version;
    this.signatures = signatures;
    this.label = -1; // the class that is asked for; -1 is none
    this.classNames = [];
    // Of images and of classes, [] and 0 where there are none.
    this.imageShape = this.signatures.generate?.outputs.images?.slice(1) ?? [];
    this.latentSize = this.signatures.serving_default?.inputs.latents?.[1] ?? 0;
    const labels = Object.values(signatures).map(({ inputs }) => inputs.labels?.[1] ?? 0);
    this.numClasses = Math.max(0, ...labels);
  }

  has(...names) {
    return names.every((name) => name in this.signatures);
  }

  /** The outputs by name. The class is added where the signature takes one. */
  async predict(signature, inputs, signal) {
    const { inputs: taken, outputs } = this.signatures[signature];
    const rows = Object.values(inputs)[0].length;
    if ("label" in taken) inputs = { label: Array(rows).fill(this.label), ...inputs };
    if ("labels" in taken) {
      const indicators = Array.from({ length: taken.labels[1] }, (_, i) => +(i === this.label));
      inputs = { ...inputs, labels: Array(rows).fill(indicators) };
    }
    const body = { signature_name: signature, inputs };
    const answer = (await ask(`${this.path}:predict`, { body, signal })).outputs;
    const names = Object.keys(outputs);
    return names.length === 1 ? { [names[0]]: answer } : answer; // a single one goes unnamed
  }

  /** Asks for the names of the classes; without names they have numbers. */
  async nameClasses(signal) {
    const labels = Array.from({ length: this.numClasses }, (_, i) => i);
    this.classNames = labels.map((i) => `class ${i}`);
    if (!this.has("class_name") || !labels.length) return;
    this.classNames = (await this.predict("class_name", { label: labels }, signal)).name;
  }

  /** Words of an image, and its class. */
  words(text) {
    if (!this.numClasses) return text;
    return `${text} · ${this.classNames[this.label] ?? "no class"}`;
  }
}

function shapes(tensors) {
  return Object.fromEntries(
    Object.entries(tensors ?? {}).map(([name, { tensor_shape }]) => [
      name,
      (tensor_shape?.dim ?? []).map(({ size }) => Number(size)),
    ]),
  );
}
