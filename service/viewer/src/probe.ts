/** The probability under the pointer, or in the middle when the slide is moved by keys. */

import type { Api } from "./api";
import { byId, debounce, make } from "./dom";
import type { Legend } from "./legend";
import type { Result } from "./types";
import { lengthText, wholeText } from "./units";

const QUIET_MS = 80;

export class Probe {
  private readonly output = byId("readout");
  private readonly place = make("span", { class: "readout-place" });
  private readonly value = make("span", { class: "readout-value" });
  private request = new AbortController();
  private readonly ask = debounce((x0: number, y0: number) => void this.fetch(x0, y0), QUIET_MS);

  constructor(
    private readonly api: Api,
    private readonly legend: Legend,
    private readonly subject: () => { result: Result; className: string } | null,
  ) {
    this.output.replaceChildren(this.value, this.place);
  }

  /** `spoken`: screen readers hear the answer. */
  at(x: number, y: number, spoken: boolean): void {
    const subject = this.subject();
    const [x0, y0] = [Math.floor(x), Math.floor(y)];
    const [width, height] = subject?.result.slide.size0 ?? [0, 0];
    if (!subject || x0 < 0 || y0 < 0 || x0 >= width || y0 >= height) return this.clear();
    this.request.abort();
    this.output.setAttribute("aria-live", spoken ? "polite" : "off");
    this.output.hidden = false;
    this.place.textContent = placeText(x0, y0, subject.result.slide.mpp);
    if (!this.value.textContent) this.value.textContent = "…";
    this.ask(x0, y0);
  }

  clear(): void {
    this.request.abort();
    this.output.hidden = true;
    this.value.textContent = "";
    this.legend.mark(null);
  }

  private async fetch(x0: number, y0: number): Promise<void> {
    const subject = this.subject();
    if (!subject || this.output.hidden) return;
    const { signal } = (this.request = new AbortController());
    try {
      const { result, className } = subject;
      const found = await this.api.point(result.id, x0, y0, signal);
      const probability = found?.[className] ?? null;
      if (signal.aborted) return;
      this.value.textContent = probability === null ? "not scored" : `${className} ${probability.toFixed(3)}`;
      this.legend.mark(probability);
    } catch {
      if (!signal.aborted) this.value.textContent = "no value";
    }
  }
}

function placeText(x0: number, y0: number, mpp: [number, number] | null): string {
  const px = `x ${wholeText(x0)}, y ${wholeText(y0)} px`;
  return mpp ? `${px} · ${lengthText(x0 * mpp[0])}, ${lengthText(y0 * mpp[1])}` : px;
}
