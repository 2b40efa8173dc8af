// The colour map "inferno" of Nathaniel Smith and Stéfan van der Walt (CC0) at equal steps: from
// black to pale yellow, each step as large to the eye as any other, and lighter.
const INFERNO =
  ("000004 040313 0b0725 160b39 220c4c 310a5c 3f0a66 4d0c6b 5a116e 67166e 741b6e 811f6c 8e2469 " +
    "9b2964 a82e5f b53358 c13a51 cc4248 d74b3f e05536 e8612c ef6d22 f57b17 f8890c fb9806 fca80d " +
    "fbb81c f9c830 f6d847 f2e763 f3f585 fcffa4")
    .split(" ")
    .map((colour) => [0, 2, 4].map((i) => parseInt(colour.slice(i, i + 2), 16)));

/** The colour of a number in [0, 1]. */
function colour(value) {
  const place = Math.min(Math.max(value, 0), 1) * (INFERNO.length - 1);
  const i = Math.min(Math.floor(place), INFERNO.length - 2);
  return INFERNO[i].map((low, k) => low + (place - i) * (INFERNO[i + 1][k] - low));
}

/** An image (height, width, channels) in [0, 1]: of other than 3 channels, the first. */
export function drawImage(canvas, image) {
  draw(canvas, image, (pixel) =>
    pixel.length === 3 ? pixel.map((value) => 255 * value) : Array(3).fill(255 * pixel[0]));
}

/** A map (height, width) in colours from 0 to `most`. */
export function drawMap(canvas, map, most) {
  draw(canvas, map, (value) => colour(most > 0 ? value / most : 0));
}

/** The colours of a map from left to right. */
export function drawColours(canvas) {
  draw(canvas, [Array.from({ length: canvas.width }, (_, x) => x / (canvas.width - 1))], colour);
}

export function largest(map) {
  return map.reduce((most, row) => row.reduce((a, b) => Math.max(a, b), most), 0);
}

function draw(canvas, rows, colourOf) {
  canvas.width = rows[0].length;
  canvas.height = rows.length;
  const context = canvas.getContext("2d");
  const data = context.createImageData(canvas.width, canvas.height);
  let at = 0;
  for (const row of rows) {
    for (const value of row) {
      data.data.set(colourOf(value), at); // rounded and cut to bytes there
      data.data[at + 3] = 255;
      at += 4;
    }
  }
  context.putImageData(data, 0, 0);
}
