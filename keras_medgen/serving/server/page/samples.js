import { element, SEED_RULE, seedOf, Tiles } from "./elements.js";
import { Latest } from "./latest.js";
import { drawImage } from "./pictures.js";

const COUNT = 8;
const LAST_SEED = 2 ** 31 - 1;
const RANDOM_SEEDS = 1e6; // new samples are of one below: short enough to be told to someone

/** Samples of eight seeds, one of them large. */
export class Samples {
  section = element("samples");
  seed = 0;
  image = null; // of the seed; null until it is known
  #images = []; // of the eight seeds from #first
  #first = null;

  constructor(changed) {
    this.latest = new Latest(this.section);
    this.downloads = new Latest(this.section, { seen: true });
    this.changed = changed;
    this.tiles = new Tiles(element("grid"), COUNT, (i) => {
      if (this.#first !== null) this.choose(this.#first + i);
    });
    element("previous").addEventListener("click", () => this.choose(this.seed - 1));
    element("next").addEventListener("click", () => this.choose(this.seed + 1));
    element("draw").addEventListener("click", () => {
      const page = Math.floor((Math.random() * RANDOM_SEEDS) / COUNT);
      this.choose(page * COUNT);
    });
    element("seed").addEventListener("change", () => this.#typed());
    element("seeds").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#typed();
    });
    element("download").addEventListener("click", () => this.#download());
  }

  fits(model) {
    return model.has("generate");
  }

  /** Shows the samples of a model, or of another class of it. */
  open(model) {
    this.latest.stop();
    this.downloads.stop();
    this.model = model;
    this.#first = null;
    element("download").parentElement.hidden = !model.has("generate_png");
    this.choose(this.seed);
  }

  choose(seed) {
    this.seed = Math.min(Math.max(seed, 0), LAST_SEED);
    element("seed").value = this.seed;
    element("seed").removeAttribute("aria-invalid");
    element("previous").disabled = this.seed === 0;
    element("next").disabled = this.seed === LAST_SEED;
    const first = this.#pageOf();
    if (first === this.#first) {
      this.latest.say("");
      this.#show();
    } else {
      this.image = null;
      this.section.classList.add("stale"); // until what is shown is of this seed
      this.latest.run((signal) => this.#load(first, signal));
    }
    this.changed();
  }

  #pageOf() {
    return this.seed - (this.seed % COUNT);
  }

  async #load(first, signal) {
    const seeds = Array.from({ length: COUNT }, (_, i) => first + i);
    const { images } = await this.model.predict("generate", { seed: seeds }, signal);
    if (first !== this.#pageOf()) return; // the next request is for the page that is wanted
    this.#first = first;
    this.#images = images;
    images.forEach((image, i) => {
      drawImage(this.tiles.canvas(i), image);
      this.tiles.name(i, String(first + i), `Sample of seed ${first + i}`);
    });
    this.#show();
    this.changed();
    return `Samples of seeds ${first} to ${first + COUNT - 1}.`;
  }

  #show() {
    this.section.classList.remove("stale");
    this.image = this.#images[this.seed - this.#first];
    this.tiles.press(this.seed - this.#first);
    drawImage(element("sample"), this.image);
    const words = this.model.words(`Seed ${this.seed}`);
    element("sample").setAttribute("aria-label", `Synthetic image: ${words}`);
    element("sample-name").textContent = words;
  }

  #typed() {
    const seed = seedOf(element("seed").value);
    element("seed").setAttribute("aria-invalid", String(seed === null));
    if (seed === null) this.latest.fail(SEED_RULE);
    else this.choose(seed);
  }

  #download() {
    const { model, seed } = this;
    const kind = model.numClasses ? `_class-${model.label < 0 ? "none" : model.label}` : "";
    this.downloads.run(async (signal) => {
      const answer = await model.predict("generate_png", { seed: [seed] }, signal);
      const bytes = Uint8Array.from(atob(answer.image_bytes[0].b64), (c) => c.charCodeAt(0));
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([bytes], { type: "image/png" }));
      link.download = `${model.name}${kind}_seed-${seed}_synthetic.png`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // the download is done by then
      return `${link.download} is saved.`;
    });
  }
}
