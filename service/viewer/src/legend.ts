/** The colour bar: its range can be edited, the threshold and the pointer's value are marked. */

import colormaps from "./colormaps.json";
import { make } from "./dom";
import type { Look } from "./permalink";

const COLORS: Record<string, string[]> = colormaps;

export const CMAPS: readonly string[] = Object.keys(COLORS);

export class Legend {
  readonly root = make("div", { class: "legend" });
  private readonly bar = make("div", { class: "legend-bar", role: "img" });
  private readonly hidden = make("div", { class: "legend-hidden" });
  private readonly pointer = make("div", { class: "legend-pointer", hidden: true });
  private readonly low = bound("Colours from");
  private readonly high = bound("Colours to");
  private readonly what = make("span", {});
  private look: Look | null = null;

  constructor(private readonly onRange: (vmin: number, vmax: number) => void) {
    this.bar.append(this.hidden, this.pointer);
    const ends = make("div", { class: "legend-ends" }, this.low, this.what, this.high);
    this.root.append(this.bar, ends);
    for (const input of [this.low, this.high]) input.addEventListener("change", () => this.edited());
  }

  draw(look: Look, name: string): void {
    this.look = look;
    this.bar.style.backgroundImage = `linear-gradient(to right, ${COLORS[look.cmap]?.join(", ")})`;
    const what = name === "uncertainty" ? "uncertainty" : `probability of ${name}`;
    this.what.textContent = what.split(" ")[0] ?? "";
    this.bar.setAttribute("aria-label", `Colours of the ${what} from ${look.vmin} to ${look.vmax}`);
    this.hidden.style.width = `${100 * this.position(look.threshold)}%`;
    this.low.value = String(look.vmin);
    this.high.value = String(look.vmax);
    for (const input of [this.low, this.high]) input.removeAttribute("aria-invalid");
  }

  mark(probability: number | null): void {
    this.pointer.hidden = probability === null;
    this.pointer.style.left = `${100 * this.position(probability ?? 0)}%`;
  }

  private position(probability: number): number {
    const { vmin, vmax } = this.look ?? { vmin: 0, vmax: 1 };
    return Math.min(1, Math.max(0, (probability - vmin) / (vmax - vmin)));
  }

  private edited(): void {
    const [vmin, vmax] = [this.low.valueAsNumber, this.high.valueAsNumber];
    const valid = vmin >= 0 && vmax <= 1 && vmin < vmax;
    for (const input of [this.low, this.high]) input.setAttribute("aria-invalid", String(!valid));
    if (valid) this.onRange(vmin, vmax);
  }
}

function bound(label: string): HTMLInputElement {
  return make("input", { type: "number", min: 0, max: 1, step: 0.05, "aria-label": label, inputmode: "decimal" });
}
