/** The artefacts of a result as links. */

import { ApiError, type Api } from "./api";
import { make } from "./dom";
import type { Artefact } from "./types";
import { bytesText } from "./units";
import { isSameOrigin } from "./wire";

export function downloadList(artefacts: Artefact[], api: Api): HTMLElement {
  const items = artefacts
    .filter(({ href }) => isSameOrigin(href))
    .map((artefact) => make("li", {}, link(artefact, api), make("span", { class: "muted" }, ` ${bytesText(artefact.size_bytes)}`)));
  return make("ul", { class: "downloads" }, ...items);
}

function link(artefact: Artefact, api: Api): HTMLElement {
  if (isFolder(artefact)) return make("code", {}, new URL(artefact.href, location.href).href);
  const made = make("a", { href: artefact.href, download: artefact.name, title: artefact.media_type }, label(artefact));
  made.addEventListener("click", (event) => {
    if (!api.hasKey) return; // the browser streams it to disk by itself
    event.preventDefault();
    void save(artefact, api, made);
  });
  return made;
}

/** Programs read a Zarr store key by key: its address is what they need. */
function isFolder({ name }: Artefact): boolean {
  return name.endsWith(".zarr");
}

/** Two artefacts may differ in their kind only. */
function label({ name, href }: Artefact): string {
  const kind = new URL(href, location.href).searchParams.get("kind");
  return kind ? `${name} (${kind})` : name;
}

/** A link can send no key: the file comes by fetch, and through memory. */
async function save(artefact: Artefact, api: Api, link: HTMLAnchorElement): Promise<void> {
  link.setAttribute("aria-busy", "true");
  try {
    const address = URL.createObjectURL(await api.blob(artefact.href));
    make("a", { href: address, download: artefact.name }).click();
    setTimeout(() => URL.revokeObjectURL(address), 60_000);
  } catch (error) {
    link.after(make("span", { class: "reason" }, error instanceof ApiError ? ` ${error.problem.title}` : " failed"));
  } finally {
    link.removeAttribute("aria-busy");
  }
}
