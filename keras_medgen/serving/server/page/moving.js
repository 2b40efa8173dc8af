import { element } from "./elements.js";
import { deviations } from "./latents.js";
import { Latest } from "./latest.js";
import { drawImage } from "./pictures.js";

const COUNT = 8; // sliders at a time
const MEASURED = 64; // samples whose latents tell how far a dimension spreads

/** One sample, moved along dimensions of its latent. */
export class Moving {
  section = element("moving");
  #offsets = new Map(); // from dimension to standard deviations, where not 0
  #first = 0; // dimension of the first slider
  #spread = null;
  #sample = {};

  constructor(samples) {
    this.latest = new Latest(this.section);
    this.samples = samples;
    this.sliders = Array.from({ length: COUNT }, (_, i) => this.#slider(i));
    element("reset").addEventListener("click", () => {
      this.#offsets.clear();
      this.#name();
      this.update();
    });
    element("fewer").addEventListener("click", () => this.#page(-COUNT));
    element("more").addEventListener("click", () => this.#page(COUNT));
  }

  fits(model) {
    return model.latentSize > 0 && model.has("generate", "sample_latents", "serving_default");
  }

  open(model, again) {
    this.latest.stop();
    this.model = model;
    this.#spread = null;
    this.#sample = {};
    if (!again) {
      this.#offsets.clear();
      this.#first = 0;
    }
    element("dimension-pages").hidden = model.latentSize <= COUNT;
    this.#name();
  }

  /** Shows the sample, or the sample moved. */
  update() {
    const { seed, image } = this.samples;
    const moved = this.#offsets.size;
    if (!moved) {
      this.latest.stop();
      if (image) this.#show(image, seed);
      return;
    }
    this.latest.run(async (signal) => {
      await this.#prepare(seed, signal);
      const latent = [...this.#sample.latent];
      const offsets = new Map(this.#offsets);
      for (const [i, offset] of offsets) latent[i] += offset * this.#spread[i];
      const { images } = await this.model.predict("serving_default", { latents: [latent] }, signal);
      return this.#show(images[0], seed, offsets.size);
    });
  }

  /** Asks for the latent, and once for the spread of all. */
  async #prepare(seed, signal) {
    const latents = async (seeds) =>
      (await this.model.predict("sample_latents", { seed: seeds }, signal)).latents;
    if (!this.#spread) {
      this.#spread = deviations(await latents(Array.from({ length: MEASURED }, (_, i) => i)));
    }
    if (this.#sample.seed !== seed) this.#sample = { seed, latent: (await latents([seed]))[0] };
  }

  #show(image, seed, moved = 0) {
    const words = this.model.words(`Seed ${seed}, ${moved ? `${moved} moved` : "as it is"}`);
    drawImage(element("moved"), image);
    element("moved").setAttribute("aria-label", `Synthetic image: ${words}`);
    element("moved-name").textContent = words;
    return `${words}.`;
  }

  #slider(i) {
    const row = document.createElement("p");
    const [label, input, output] = ["label", "input", "output"].map((tag) =>
      document.createElement(tag));
    Object.assign(input, { type: "range", id: `move-${i}`, min: -3, max: 3, step: 0.1 });
    row.className = "slider";
    label.htmlFor = input.id;
    row.append(label, input, output);
    element("sliders").append(row);
    input.addEventListener("input", () => {
      const offset = Number(input.value);
      if (offset) this.#offsets.set(this.#first + i, offset);
      else this.#offsets.delete(this.#first + i);
      this.#name();
      this.update();
    });
    return { row, label, input, output };
  }

  #page(step) {
    this.#first += step;
    this.#name();
  }

  /** Brings the sliders to the offsets of their dimensions. */
  #name() {
    const size = this.model.latentSize;
    this.sliders.forEach(({ row, label, input, output }, i) => {
      const dimension = this.#first + i;
      const offset = this.#offsets.get(dimension) ?? 0;
      const words = `${offset > 0 ? "+" : offset < 0 ? "−" : ""}${Math.abs(offset).toFixed(1)}`;
      row.hidden = dimension >= size;
      label.textContent = `Dimension ${dimension + 1}`;
      input.value = offset;
      input.setAttribute("aria-valuetext", `${words} standard deviations`);
      output.textContent = words;
    });
    element("reset").disabled = !this.#offsets.size;
    element("fewer").disabled = this.#first === 0;
    element("more").disabled = this.#first + COUNT >= size;
    const last = Math.min(this.#first + COUNT, size);
    element("dimensions").textContent = `${this.#first + 1} to ${last} of ${size}`;
  }
}
