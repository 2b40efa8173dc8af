import { ServerError } from "./api.js";

const PATIENCE = 400; // milliseconds until a request is spoken of

/**
 * The requests of one part of the page: one at a time, and of those that wait the last one wins.
 * What comes of them, good or bad, is said in the part's own report; what can be seen anyway is
 * said to screen readers alone.
 */
export class Latest {
  #status;
  #alert;
  #seen;
  #waiting = null;
  #running = null;

  constructor(section, { seen = false } = {}) {
    this.#seen = seen;
    this.#status = section.querySelector(".report [role=status]");
    this.#alert = section.querySelector(".report [role=alert]");
  }

  /** Runs a function of an AbortSignal; what it returns is announced. */
  async run(job) {
    this.#waiting = job;
    if (this.#running) return;
    while (this.#waiting) {
      job = this.#waiting;
      this.#waiting = null;
      await this.#one(job);
    }
    this.#running = null;
  }

  async #one(job) {
    this.#running = new AbortController();
    const { signal } = this.#running;
    const timer = setTimeout(() => this.say("Working…"), PATIENCE);
    try {
      const words = await job(signal);
      if (signal.aborted) return;
      this.say(words ?? "", !this.#seen);
      this.#alert.replaceChildren();
    } catch (error) {
      if (signal.aborted || this.#waiting) return;
      if (!(error instanceof ServerError)) console.error(error);
      this.fail(error.message, () => this.run(job));
    } finally {
      clearTimeout(timer);
    }
  }

  /** Gives up what runs and what waits. */
  stop() {
    this.#waiting = null;
    this.#running?.abort();
    this.say("");
    this.#alert.replaceChildren();
  }

  say(words, heard = false) {
    this.#status.textContent = words;
    this.#status.classList.toggle("heard", heard);
  }

  /** Says what is wrong, with a button to try it again where that may help. */
  fail(words, again) {
    this.say("");
    const text = document.createElement("p");
    text.textContent = words;
    this.#alert.replaceChildren(text);
    if (!again) return;
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Try again";
    button.addEventListener("click", again);
    this.#alert.append(button);
  }
}
