import { element } from "./elements.js";
import { Latest } from "./latest.js";
import { drawColours, drawImage, drawMap, largest } from "./pictures.js";

const MOST_BYTES = 20 * 2 ** 20; // base 64 makes 27 MiB of them, and servers have their limits
const ENLARGED = 256; // pixels: narrower images are shown without smoothing

/** A file of the user's: its reconstruction, and where it is not what the model expects. */
export class Own {
  section = element("own");
  #file = null; // {name, url, base64}
  #map = null;
  #most = 0; // of the map's scale
  #turn = 0; // a large file is not read so soon: the last one taken wins

  constructor() {
    this.latest = new Latest(this.section);
    drawColours(element("colours"));
    element("file").addEventListener("change", () => {
      this.take(element("file").files);
      element("file").value = ""; // the same file again is a change again
    });
    element("keep").addEventListener("change", () => this.#colour());
  }

  fits(model) {
    return model.has("reconstruct_bytes") || model.has("detect_bytes");
  }

  open(model) {
    this.latest.stop();
    this.model = model;
    element("found").hidden = true;
    this.#most = 0;
    if (this.#file) this.#ask(this.#file);
  }

  /** Takes the first of some files. */
  async take(files) {
    if (!files.length) return;
    this.latest.stop();
    const turn = ++this.#turn;
    try {
      const file = await read(files[0]);
      if (turn === this.#turn) this.#ask(file);
    } catch (error) {
      if (turn === this.#turn) this.latest.fail(error.message);
    }
  }

  #ask(file) {
    this.latest.run(async (signal) => {
      const answer = (signature) =>
        this.model.has(signature)
          ? this.model.predict(signature, { image_bytes: [{ b64: file.base64 }] }, signal)
          : null;
      // Either may fail, and the other be shown.
      const answers = await Promise.allSettled([answer("reconstruct_bytes"), answer("detect_bytes")]);
      const failed = answers.find(({ status }) => status === "rejected");
      const [restored, detected] = answers.map(({ value }) => value);
      if (restored || detected) this.#show(file, restored, detected);
      if (failed) throw failed.reason;
      return detected ? `${file.name}: anomaly score ${element("score").textContent}.` : file.name;
    });
  }

  #show(file, restored, detected) {
    if (this.#file && this.#file !== file) URL.revokeObjectURL(this.#file.url);
    this.#file = file;
    element("found").hidden = false;
    element("input").src = file.url;
    element("input").classList.toggle("enlarged", file.width < ENLARGED);
    element("own-name").textContent = file.name;
    element("restored").hidden = !restored;
    if (restored) drawImage(element("restored-picture"), restored.images[0]);
    for (const id of ["anomaly", "verdict"]) element(id).hidden = !detected;
    if (!detected) return;
    this.#map = detected.maps[0];
    this.#colour();
    const score = detected.scores[0].toPrecision(3);
    element("score").textContent = score;
    element("map").setAttribute("aria-label", `Anomaly map; score of the image ${score}`);
  }

  #colour() {
    if (!this.#map) return;
    if (!element("keep").checked || !this.#most) this.#most = largest(this.#map);
    drawMap(element("map"), this.#map, this.#most);
    element("most").textContent = this.#most.toPrecision(2);
  }
}

/** A file as the server takes it and the page shows it; an Error in words if it is no image. */
async function read(file) {
  const name = `“${file.name}”`;
  const bytes = new Uint8Array(await file.slice(0, 132).arrayBuffer());
  const begins = (...values) => values.every((value, i) => bytes[i] === value);
  if (String.fromCharCode(...bytes.slice(128)) === "DICM") {
    throw new Error(`${name} is a DICOM file. Save the image as PNG or JPEG, without names.`);
  }
  if (!begins(0x89, 0x50, 0x4e, 0x47) && !begins(0xff, 0xd8, 0xff)) {
    throw new Error(`${name} is neither a PNG nor a JPEG file.`);
  }
  if (file.size > MOST_BYTES) {
    const [size, most] = [file.size, MOST_BYTES].map((count) => Math.ceil(count / 2 ** 20));
    throw new Error(`${name} has ${size} MiB. The most is ${most} MiB.`);
  }
  const image = await createImageBitmap(file).catch(() => {
    throw new Error(`${name} is damaged: it begins like an image, and cannot be read.`);
  });
  const { width } = image;
  image.close();
  const base64 = await new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.split(",", 2)[1]);
    reader.onerror = () => reject(new Error(`${name} cannot be read.`));
    reader.readAsDataURL(file);
  });
  return { name: file.name, url: URL.createObjectURL(file), base64, width };
}
