/** Names of the files that this tab sent: the service keeps none, they may name a patient. */

const PREFIX = "file-of-";

export function rememberName(slideId: string, name: string): void {
  sessionStorage.setItem(PREFIX + slideId, name);
}

export function slideName(slideId: string): string {
  return sessionStorage.getItem(PREFIX + slideId) ?? `Slide …${slideId.slice(-6)}`;
}
