const NEARLY_PARALLEL = 1e-3; // sine of the angle below which the sphere is as good as flat

/**
 * The latent on the way from `a` to `b`, at a weight from 0 to 1: turned from one direction to the
 * other, its norm changing evenly, as keras_medgen.latents.interpolate does it.
 *
 * White, Sampling Generative Networks, 2016, https://arxiv.org/abs/1609.04468
 */
export function spherical(a, b, weight) {
  const [normA, normB] = [Math.hypot(...a), Math.hypot(...b)];
  const cosine = a.reduce((sum, x, i) => sum + x * b[i], 0) / Math.max(normA * normB, 1e-12);
  const angle = Math.acos(Math.min(Math.max(cosine, -1), 1));
  const sine = Math.sin(angle);
  if (sine < NEARLY_PARALLEL || Math.min(normA, normB) === 0) {
    return a.map((x, i) => (1 - weight) * x + weight * b[i]);
  }
  const norm = (1 - weight) * normA + weight * normB;
  const partA = (norm * Math.sin((1 - weight) * angle)) / (sine * normA);
  const partB = (norm * Math.sin(weight * angle)) / (sine * normB);
  return a.map((x, i) => partA * x + partB * b[i]);
}

/** The standard deviation of each dimension over several latents. */
export function deviations(latents) {
  return latents[0].map((_, i) => {
    const mean = latents.reduce((sum, row) => sum + row[i], 0) / latents.length;
    const squares = latents.reduce((sum, row) => sum + (row[i] - mean) ** 2, 0);
    return Math.sqrt(squares / (latents.length - 1));
  });
}
