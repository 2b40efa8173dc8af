import { Model, modelNames, ServerError } from "./api.js";
import { Between } from "./between.js";
import { element, seedOf } from "./elements.js";
import { Latest } from "./latest.js";
import { Moving } from "./moving.js";
import { Own } from "./own.js";
import { Samples } from "./samples.js";

const SETTLED = 200; // milliseconds: browsers take only so many changes of the address

const opening = new Latest(document.querySelector("header"), { seen: true });
const samples = new Samples(sampleChanged);
const moving = new Moving(samples);
const between = new Between(samples, writeAddress);
const own = new Own();
const parts = [moving, between, own, samples]; // samples last: those before show its sample
let model = null;
let writing;

function sampleChanged() {
  for (const part of [moving, between]) if (!part.section.hidden) part.update();
  writeAddress();
}

/** Keeps what is shown in the address, so that it can be found again. */
function writeAddress() {
  clearTimeout(writing);
  writing = setTimeout(() => {
    if (!model) return;
    const address = new URLSearchParams({ model: model.name, seed: samples.seed });
    if (model.numClasses) address.set("class", model.label);
    if (between.to !== null) address.set("to", between.to);
    history.replaceState(null, "", `?${address}`);
    document.title = `${model.name}, seed ${samples.seed} – Generative model viewer`;
  }, SETTLED);
}

async function start(signal) {
  const address = new URLSearchParams(location.search);
  const wanted = address.get("model");
  samples.seed = seedOf(address.get("seed")) ?? 0;
  between.to = seedOf(address.get("to"));
  const names = await modelNames(signal);
  element("model-list").hidden = names === null;
  element("model-box").hidden = names !== null;
  if (names === null) {
    element("model-name").value = wanted ?? "";
    if (wanted) return open(wanted, signal, address.get("class"));
    return "This server does not list its models: type the name of one.";
  }
  if (!names.length) throw new ServerError("The server has no model yet.");
  element("model").replaceChildren(...names.map((name) => new Option(name, name)));
  if (wanted === null || names.includes(wanted)) element("model").value = wanted ?? names[0];
  else element("model").selectedIndex = -1;
  return open(wanted ?? names[0], signal, address.get("class"));
}

async function open(name, signal, label) {
  model = null;
  element("class-list").hidden = true;
  element("facts").textContent = "keras_medgen";
  for (const part of parts) part.section.hidden = true;
  let opened;
  try {
    opened = await Model.open(name, signal);
    await opened.nameClasses(signal);
  } catch (error) {
    if (!(error instanceof ServerError)) throw error;
    throw new ServerError(`The model “${name}” cannot be opened. ${error.message}`);
  }
  if (!parts.some((part) => part.fits(opened))) {
    throw new ServerError(
      `The model “${name}” has none of the signatures that this page asks for: generate, ` +
        "reconstruct_bytes, detect_bytes. Export it again.",
    );
  }
  model = opened;
  describe();
  fillClasses(label);
  for (const part of parts) {
    part.section.hidden = !part.fits(model);
    if (!part.section.hidden) part.open(model);
  }
  writeAddress();
}

function describe() {
  const [height, width, channels] = model.imageShape;
  const facts = [model.name];
  if (model.version) facts.push(`version ${model.version}`);
  if (height) {
    const kinds = { 1: "grey", 3: "colour" };
    const kind = kinds[channels] ?? `${channels} channels, of which the first is shown`;
    facts.push(`${width} × ${height} pixels, ${kind}`);
    document.documentElement.style.setProperty("--aspect", width / height);
  }
  element("facts").textContent = facts.join(" · ");
}

function fillClasses(label) {
  const count = model.numClasses;
  element("class-list").hidden = !count;
  if (!count) return;
  const names = model.classNames.map((name, i) => new Option(name, i));
  element("class").replaceChildren(...names, new Option("no class", -1));
  const known = /^(-1|\d+)$/.test(label ?? "") && Number(label) < count;
  model.label = known ? Number(label) : 0;
  element("class").value = model.label;
}

element("model").addEventListener("change", () => opened(element("model").value));
element("choice").addEventListener("submit", (event) => {
  event.preventDefault();
  const name = element("model-name").value.trim();
  if (name) opened(name);
});
element("class").addEventListener("change", () => {
  model.label = Number(element("class").value);
  for (const part of parts) if (!part.section.hidden) part.open(model, true);
});

function opened(name) {
  opening.run((signal) => open(name, signal));
}

// Files may be dropped and pasted anywhere: a browser would leave the page for them.
const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");
for (const type of ["dragenter", "dragover"]) {
  document.addEventListener(type, (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    element("drop").classList.add("over");
  });
}
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) element("drop").classList.remove("over");
});
document.addEventListener("drop", (event) => {
  if (!carriesFiles(event)) return;
  event.preventDefault();
  element("drop").classList.remove("over");
  take(event.dataTransfer.files);
});
document.addEventListener("paste", (event) => {
  if (event.clipboardData?.files.length) take(event.clipboardData.files);
});

function take(files) {
  if (!model) return;
  if (own.section.hidden) {
    opening.fail(`The model “${model.name}” takes no images.`);
    return;
  }
  own.section.scrollIntoView({ block: "nearest" });
  own.take(files);
}

opening.run(start);
