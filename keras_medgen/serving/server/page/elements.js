const LARGEST_SEED = 2 ** 31 - 1; // seeds are int32

export const element = (id) => document.getElementById(id);

/** The seed that a text holds, or null. */
export function seedOf(text) {
  const number = /^\d{1,10}$/.test(text?.trim() ?? "") ? Number(text) : NaN;
  return number <= LARGEST_SEED ? number : null;
}

export const SEED_RULE = `A seed must be a whole number from 0 to ${LARGEST_SEED}.`;

/** Buttons with a picture each, of which one is pressed. */
export class Tiles {
  constructor(box, count, chosen) {
    this.tiles = Array.from({ length: count }, (_, i) => {
      const tile = document.createElement("button");
      tile.type = "button";
      tile.className = "tile";
      const words = document.createElement("span");
      tile.append(document.createElement("canvas"), words);
      tile.addEventListener("click", () => chosen(i));
      return tile;
    });
    box.replaceChildren(...this.tiles);
  }

  canvas(i) {
    return this.tiles[i].firstChild;
  }

  name(i, words, spoken) {
    this.tiles[i].lastChild.textContent = words;
    this.tiles[i].setAttribute("aria-label", spoken);
  }

  press(chosen) {
    this.tiles.forEach((tile, i) => tile.setAttribute("aria-pressed", String(i === chosen)));
  }
}
