import { element, SEED_RULE, seedOf, Tiles } from "./elements.js";
import { spherical } from "./latents.js";
import { Latest } from "./latest.js";
import { drawImage } from "./pictures.js";

const STEPS = 7;
const STOPS = 10; // places of the slider from one step to the next
const NEXT = 1; // the other seed, where none is chosen, is the sample's plus this

/** The way from the sample to that of another seed. */
export class Between {
  section = element("between");
  to = null; // the other seed; null until one is chosen
  #ends = {};
  #seen = false;

  constructor(samples, changed) {
    this.latest = new Latest(this.section);
    this.steps = new Latest(this.section);
    this.samples = samples;
    this.changed = changed;
    this.tiles = new Tiles(element("strip"), STEPS, (i) => {
      element("way").value = STOPS * i;
      this.#walk();
    });
    element("way").addEventListener("input", () => this.#walk());
    element("to").addEventListener("change", () => this.#typed());
    element("ends").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#typed();
    });
    // Seven images are made for nobody until this part of the page is seen.
    new IntersectionObserver((entries) => {
      this.#seen = entries.at(-1).isIntersecting;
      if (this.#seen) this.update();
    }, { rootMargin: "200px" }).observe(this.section);
  }

  fits(model) {
    return model.latentSize > 0 && model.has("generate", "sample_latents", "serving_default");
  }

  open(model) {
    this.latest.stop();
    this.steps.stop();
    this.model = model;
    this.#ends = {};
  }

  /** Shows the way from the present sample. */
  update() {
    const from = this.samples.seed;
    const to = this.to ?? from + (from < 2 ** 31 - 1 ? NEXT : -NEXT);
    element("from").textContent = from;
    if (document.activeElement !== element("to")) element("to").value = to;
    const stale = this.#ends.from !== from || this.#ends.to !== to;
    this.section.classList.toggle("stale", stale);
    if (!this.#seen || !stale) return;
    this.steps.run(async (signal) => {
      const { latents } = await this.model.predict("sample_latents", { seed: [from, to] }, signal);
      const ways = Array.from({ length: STEPS }, (_, i) => i / (STEPS - 1));
      const { images } = await this.#decoded(latents, ways, signal);
      this.#ends = { from, to, latents };
      this.section.classList.remove("stale");
      images.forEach((image, i) => {
        const percent = `${Math.round(100 * ways[i])}%`;
        drawImage(this.tiles.canvas(i), image);
        this.tiles.name(i, percent, `${percent} of the way`);
      });
      this.#walk();
      return `Seven steps from seed ${from} to seed ${to}.`;
    });
  }

  #decoded(latents, ways, signal) {
    const rows = ways.map((way) => spherical(...latents, way));
    return this.model.predict("serving_default", { latents: rows }, signal);
  }

  #walk() {
    const place = Number(element("way").value) / STOPS;
    const way = place / (STEPS - 1);
    const percent = Math.round(100 * way);
    element("way-value").textContent = `${percent}%`;
    element("way").setAttribute("aria-valuetext", `${percent}% of the way`);
    this.tiles.press(place);
    const { from, to, latents } = this.#ends;
    if (!latents) return;
    this.latest.run(async (signal) => {
      const { images } = await this.#decoded(latents, [way], signal);
      const words = this.model.words(`${percent}% of the way from seed ${from} to ${to}`);
      drawImage(element("between-picture"), images[0]);
      element("between-picture").setAttribute("aria-label", `Synthetic image: ${words}`);
      element("between-name").textContent =
        this.model.words(`Seed ${from} → ${to}, ${percent}%`);
      return `${words}.`;
    });
  }

  #typed() {
    const seed = seedOf(element("to").value);
    element("to").setAttribute("aria-invalid", String(seed === null));
    if (seed === null) {
      this.steps.fail(SEED_RULE);
      return;
    }
    this.to = seed;
    this.changed();
    this.update();
  }
}
