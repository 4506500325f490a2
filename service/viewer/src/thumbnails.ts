/** Small pictures of slides, fetched when they come into sight. */

import type { Api } from "./api";
import { make } from "./dom";

export class Thumbnails {
  private readonly addresses = new Map<string, Promise<string | null>>();
  private readonly seen: IntersectionObserver;

  constructor(private readonly api: Api) {
    this.seen = new IntersectionObserver((entries) => {
      for (const { isIntersecting, target } of entries) if (isIntersecting) void this.show(target);
    });
  }

  frame(slideId: string): HTMLElement {
    const frame = make("div", { class: "thumbnail", "data-slide": slideId, "aria-hidden": "true" });
    this.seen.observe(frame);
    return frame;
  }

  private async show(frame: Element): Promise<void> {
    this.seen.unobserve(frame);
    const address = await this.address(frame.getAttribute("data-slide") ?? "");
    if (address) frame.replaceChildren(make("img", { src: address, alt: "" }));
  }

  /** Null where there is none: the slide was deleted, or is not read yet. */
  private address(slideId: string): Promise<string | null> {
    let address = this.addresses.get(slideId);
    if (!address) {
      address = this.api
        .blob(`/v1/slides/${encodeURIComponent(slideId)}/thumbnail.jpg`)
        .then((blob) => URL.createObjectURL(blob))
        .catch(() => (this.addresses.delete(slideId), null));
      this.addresses.set(slideId, address);
    }
    return address;
  }
}
