/** What one sees of a result beside its picture, and how it is coloured. */

import { button, make } from "./dom";
import { downloadList } from "./downloads";
import type { Api } from "./api";
import { CMAPS, Legend } from "./legend";
import type { Look } from "./permalink";
import { areaAbove } from "./statistics";
import type { Result } from "./types";
import { areaText, percentText, wholeText } from "./units";

const STEP = 1 / 200; // of the histogram that areas are read from

export class Inspector {
  private result: Result | null = null;
  private look: Look;
  private readonly shown = make("input", { type: "checkbox", id: "shown", "aria-keyshortcuts": "h" });
  private readonly opacity = slider("opacity", 0.05);
  private readonly opacityValue = make("output", { for: "opacity" });
  private readonly cmap = make("select", { id: "cmap" });
  private readonly classes = make("select", { id: "class" });
  private readonly threshold = slider("threshold", STEP);
  private readonly thresholdValue = make("output", { for: "threshold" });
  private readonly area = make("p", { class: "area", id: "area" });
  readonly legend: Legend;

  constructor(
    private readonly root: HTMLElement,
    private readonly api: Api,
    look: Look,
    private readonly onLook: (look: Look) => void,
  ) {
    this.look = look;
    this.legend = new Legend((vmin, vmax) => this.change({ vmin, vmax }));
    this.cmap.append(...CMAPS.map((name) => make("option", { value: name }, name)));
    this.threshold.setAttribute("aria-describedby", "area");
    this.listen();
  }

  show(result: Result, look: Look): void {
    this.result = result;
    this.look = look;
    const names = [...result.classes, ...result.channels];
    const options = names.map((name) => make("option", { value: name }, name));
    this.classes.replaceChildren(...options);
    this.root.replaceChildren(...this.parts(result));
    this.root.hidden = false;
    this.draw();
  }

  hide(): void {
    this.root.hidden = true;
  }

  change(change: Partial<Look>): void {
    this.look = { ...this.look, ...change };
    if (this.result) this.draw();
    this.onLook(this.look);
  }

  /** The class that is coloured. */
  get className(): string {
    return this.look.class ?? this.result?.positive_class ?? "";
  }

  private draw(): void {
    const { look } = this;
    this.shown.checked = look.shown;
    this.opacity.value = String(look.opacity);
    this.opacityValue.textContent = percentText(look.opacity);
    this.cmap.value = look.cmap;
    this.classes.value = this.className;
    this.threshold.value = String(look.threshold);
    this.thresholdValue.textContent = look.threshold === 0 ? "off" : look.threshold.toFixed(3);
    this.legend.draw(look, this.className);
    this.area.replaceChildren(...this.areaParts());
  }

  private areaParts(): (Node | string)[] {
    const { result, look } = this;
    const { histogram = null, scored_tissue_mm2: scored } = result?.statistics ?? {};
    if (!result || !histogram) return [];
    if (this.className !== result.positive_class) {
      return [`Areas are known for ${result.positive_class} only.`];
    }
    const area = areaAbove(histogram, look.threshold);
    const what = look.threshold === 0 ? "scored tissue" : `at or above ${look.threshold.toFixed(3)}`;
    const part = scored && look.threshold > 0 ? ` · ${percentText(area / scored)} of the scored tissue` : "";
    return [make("strong", {}, areaText(area)), ` ${what}${part}`];
  }

  private parts(result: Result): Node[] {
    const { threshold = null } = result.statistics;
    const preset = threshold === null ? null
      : button(`Model’s threshold: ${Number(threshold.toFixed(3))}`, () => this.change({ threshold: onStep(threshold) }));
    return [
      make("h2", {}, "Heatmap"),
      make("label", { class: "check" }, this.shown, "Show the heatmap"),
      field("Opacity", "opacity", this.opacityValue, this.opacity),
      field("Colours", "cmap", null, this.cmap),
      this.legend.root,
      ...(result.classes.length + result.channels.length > 1 ? [field("Class", "class", null, this.classes)] : []),
      field("Threshold", "threshold", this.thresholdValue, this.threshold),
      this.area,
      make("div", { class: "row" }, preset,
        button("Off", () => this.change({ threshold: 0 }), { "aria-label": "Threshold off" })),
      ...warnings(result),
      make("h2", {}, "Result"),
      facts(result),
      make("div", { class: "row" }, copyButton()),
      make("h2", {}, "Downloads"),
      downloadList(result.artefacts, this.api),
    ];
  }

  private listen(): void {
    const on = (input: HTMLElement, change: () => Partial<Look>): void =>
      input.addEventListener("input", () => this.change(change()));
    on(this.shown, () => ({ shown: this.shown.checked }));
    on(this.opacity, () => ({ opacity: this.opacity.valueAsNumber, shown: true }));
    on(this.cmap, () => ({ cmap: this.cmap.value }));
    on(this.threshold, () => ({ threshold: onStep(this.threshold.valueAsNumber) }));
    on(this.classes, () => {
      const [before, name] = [this.className, this.classes.value];
      const chosen = { class: name === this.result?.positive_class ? null : name };
      if (largest(before) === largest(name)) return chosen;
      return { ...chosen, vmin: 0, vmax: largest(name), threshold: 0 };
    });
  }
}

/** Of the values that are worth a colour: symmetries of a tile seldom disagree by more. */
function largest(name: string): number {
  return name === "uncertainty" ? 0.2 : 1;
}

function onStep(threshold: number): number {
  return Number((Math.round(threshold / STEP) * STEP).toFixed(3));
}

function slider(id: string, step: number): HTMLInputElement {
  return make("input", { type: "range", id, min: 0, max: 1, step });
}

function field(text: string, id: string, value: HTMLElement | null, control: HTMLElement): HTMLElement {
  const head = make("div", { class: "field-head" }, make("label", { for: id }, text), value);
  return make("div", { class: "field" }, head, control);
}

function facts(result: Result): HTMLElement {
  const { model, slide } = result;
  const [width, height] = slide.size0;
  const list = make("dl", { class: "facts" });
  const add = (name: string, value: string): void =>
    list.append(make("dt", {}, name), make("dd", {}, value));
  add("Model", `${model.name} ${model.version}`);
  add("Slide", `${wholeText(width)} × ${wholeText(height)} px`);
  if (slide.mpp) add("Resolution", `${Number(slide.mpp[0].toFixed(4))} µm/px`);
  return list;
}

function warnings(result: Result): Node[] {
  const none = result.outcome === "no-tissue" ? ["No tissue was found on this slide."] : [];
  const items = [...none, ...result.warnings].map((warning) => make("li", {}, warningText(warning)));
  if (!items.length) return [];
  return [make("div", { class: "warnings", role: "note" }, make("h2", {}, "Warnings"), make("ul", {}, ...items))];
}

function warningText(warning: unknown): string {
  if (typeof warning === "string") return warning;
  const fields = (warning ?? {}) as Record<string, unknown>;
  return String(fields["message"] ?? fields["detail"] ?? fields["title"] ?? JSON.stringify(warning));
}

function copyButton(): HTMLButtonElement {
  const made = button("Copy link to this view", () => {
    void navigator.clipboard?.writeText(location.href).then(() => {
      made.textContent = "Link copied";
      setTimeout(() => (made.textContent = "Copy link to this view"), 2000);
    });
  });
  made.hidden = !navigator.clipboard; // only where the page is served by HTTPS or from localhost
  return made;
}
