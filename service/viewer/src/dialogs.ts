/** The three questions and answers that stop the page: key, resolution, help. */

import { button, make } from "./dom";

const MPP_LIMITS = { low: 0.05, high: 60 }; // um/px; what is outside is some program's default

export function askKey(rejected: boolean): Promise<string | null> {
  const input = make("input", {
    type: "password", id: "key-input", autocomplete: "off", required: true, spellcheck: "false",
  });
  const intro = rejected ? "This key was not accepted. Enter another one." : "This service asks for an API key.";
  return askValue("API key", input, [
    make("p", {}, intro),
    make("label", { for: input.id }, "Key"),
    input,
    make("p", { class: "muted" }, "It is kept until this tab is closed."),
  ]);
}

/** The resolution of level 0 in um/px; null: given up. */
export async function askResolution(name: string): Promise<number | null> {
  const { low, high } = MPP_LIMITS;
  const input = make("input", {
    type: "number", id: "mpp-input", min: low, max: high, step: "any", required: true,
    inputmode: "decimal", "aria-describedby": "mpp-help",
  });
  const help = "The size of one pixel at full magnification. A 40x scan has about 0.25, a 20x scan about 0.5. A wrong value scales the heatmap and its areas wrongly.";
  const value = await askValue("Resolution of the slide", input, [
    make("p", {}, `${name} does not say how large its pixels are.`),
    make("label", { for: input.id }, "Micrometres per pixel (µm/px)"),
    input,
    make("p", { class: "muted", id: "mpp-help" }, help),
  ]);
  return value === null ? null : Number(value);
}

const HELP: [string, string][] = [
  ["Arrow keys", "move the slide (when it has the focus)"],
  ["+  −  0", "zoom in, zoom out, show all"],
  ["h", "heatmap on or off"],
  ["[  ]", "heatmap more, less transparent"],
  ["f", "full screen"],
  ["?", "this help"],
];

export interface ShortcutSwitch {
  enabled: boolean;
}

export function showHelp(shortcuts: ShortcutSwitch): void {
  const list = make("dl", { class: "keys" });
  for (const [keys, meaning] of HELP) {
    const names = keys.split("  ").map((key) => make("kbd", {}, key));
    list.append(make("dt", {}, ...names), make("dd", {}, meaning));
  }
  const box = make("input", { type: "checkbox", id: "letters" });
  box.checked = shortcuts.enabled;
  box.addEventListener("change", () => (shortcuts.enabled = box.checked));
  const dialog = make("dialog", { "aria-labelledby": "dialog-title" },
    make("h2", { id: "dialog-title" }, "Help"),
    make("p", {}, "Drop a slide on the page. When its job is done, open it: the colours show the probability that the model gives to each place. Point at the slide to read the value there."),
    list,
    make("label", { class: "check" }, box, "Use single-key shortcuts"),
    make("p", { class: "muted" }, "The address of the page always leads back to what is seen now."),
    make("div", { class: "row end" }, button("Close", () => dialog.close(), { class: "primary" })),
  );
  void open(dialog);
}

async function askValue(title: string, input: HTMLInputElement, parts: Node[]): Promise<string | null> {
  const form = make("form", { method: "dialog" },
    make("h2", { id: "dialog-title" }, title),
    ...parts,
    make("div", { class: "row end" },
      button("Cancel", () => dialog.close("")),
      make("button", { class: "primary", value: "ok" }, "OK")),
  );
  const dialog = make("dialog", { "aria-labelledby": "dialog-title" }, form);
  form.addEventListener("submit", () => (dialog.returnValue = "ok"));
  return (await open(dialog)) === "ok" ? input.value.trim() : null;
}

/** One at a time; the next one waits until the first is closed. */
let last: Promise<unknown> = Promise.resolve();

function open(dialog: HTMLDialogElement): Promise<string> {
  const shown = last.then(
    () =>
      new Promise<string>((resolve) => {
        dialog.addEventListener("close", () => (dialog.remove(), resolve(dialog.returnValue)));
        document.body.append(dialog);
        dialog.showModal();
      }),
  );
  last = shown;
  return shown;
}
