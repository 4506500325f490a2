/** Single-key shortcuts, which a user can switch off (WCAG 2.1.4). */

const STORED = "shortcuts";

export class Shortcuts {
  constructor(actions: Record<string, () => void>) {
    window.addEventListener("keydown", (event) => {
      const action = actions[event.key];
      if (!action || !this.enabled || event.defaultPrevented || belongsElsewhere(event)) return;
      event.preventDefault();
      action();
    });
  }

  get enabled(): boolean {
    return localStorage.getItem(STORED) !== "off";
  }

  set enabled(enabled: boolean) {
    localStorage.setItem(STORED, enabled ? "on" : "off");
  }
}

/** To the browser, to a dialogue or to a field that takes text. AltGr types brackets on many
 * keyboards, and says that Control and Alt are held. */
function belongsElsewhere(event: KeyboardEvent): boolean {
  const altGraph = event.getModifierState("AltGraph");
  if (!altGraph && (event.ctrlKey || event.altKey || event.metaKey)) return true;
  if (document.querySelector("dialog[open]")) return true;
  const { target } = event;
  return target instanceof HTMLElement &&
    target.matches("select, textarea, input:not([type=range], [type=checkbox])");
}
