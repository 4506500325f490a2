/** The scale bar. */

import { byId } from "./dom";
import { lengthText, scaleLength } from "./units";

const LONGEST_PX = 140;

export class Scale {
  private readonly root = byId("scale");
  private readonly bar = this.root.querySelector<HTMLElement>(".scale-bar")!;
  private readonly text = this.root.querySelector<HTMLElement>(".scale-text")!;

  /** `zoom` is CSS px of the screen per level-0 px; without a resolution there is no scale. */
  draw(slide_mpp: number | null, zoom: number): void {
    this.root.hidden = slide_mpp === null || !(zoom > 0);
    if (this.root.hidden || slide_mpp === null) return;
    const um_per_px = slide_mpp / zoom;
    const length_um = scaleLength(um_per_px, LONGEST_PX);
    this.bar.style.width = `${length_um / um_per_px}px`;
    this.text.textContent = lengthText(length_um);
  }
}
