/** Numbers with their units, as they are shown. */

const NARROW_SPACE = "\u202f"; // keeps a number and its unit on one line
const WHOLE = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const SIGNIFICANT = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });

export function wholeText(value: number): string {
  return WHOLE.format(value);
}

export function bytesText(size_bytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let value = size_bytes;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${SIGNIFICANT.format(value)}${NARROW_SPACE}${units[unit]}`;
}

export function areaText(area_mm2: number): string {
  const digits = area_mm2 >= 100 ? 0 : area_mm2 >= 1 ? 1 : 2;
  return `${area_mm2.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits })}${NARROW_SPACE}mm²`;
}

export function lengthText(length_um: number): string {
  return length_um >= 1000 ? `${SIGNIFICANT.format(length_um / 1000)}${NARROW_SPACE}mm` : `${SIGNIFICANT.format(length_um)}${NARROW_SPACE}µm`;
}

export function durationText(duration_s: number): string {
  if (duration_s < 60) return `${Math.max(1, Math.round(duration_s))}${NARROW_SPACE}s`;
  if (duration_s < 3600) return `${Math.round(duration_s / 60)}${NARROW_SPACE}min`;
  const hours = Math.floor(duration_s / 3600);
  return `${hours}${NARROW_SPACE}h ${Math.round((duration_s - hours * 3600) / 60)}${NARROW_SPACE}min`;
}

export function percentText(fraction: number): string {
  return `${Math.round(fraction * 100)}${NARROW_SPACE}%`;
}

/** A length of 1, 2 or 5 × 10^n um that is at most `limit_px` wide on the screen. */
export function scaleLength(um_per_px: number, limit_px: number): number {
  const limit_um = um_per_px * limit_px;
  const power = 10 ** Math.floor(Math.log10(limit_um));
  const step = [5, 2, 1].find((factor) => factor * power <= limit_um * (1 + 1e-9)) ?? 1;
  return step * power;
}
