/** Areas from a result's histogram. */

import type { Histogram } from "./types";

/** Tissue at or above a probability, in mm²; exact where the threshold is a whole step. */
export function areaAbove(histogram: Histogram, threshold: number): number {
  const first = Math.floor(threshold * histogram.bins + 1e-9);
  return histogram.tissue_mm2.slice(first).reduce((sum, area) => sum + area, 0);
}
