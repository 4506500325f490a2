import { readFileSync } from "node:fs";
import { defineConfig, type Plugin } from "vite";

const OPENSEADRAGON = new URL("node_modules/openseadragon/LICENSE.txt", import.meta.url);

/** OpenSeadragon's licence asks for its text beside what is made of it. */
function licences(): Plugin {
  return {
    name: "licences",
    generateBundle() {
      const source = readFileSync(OPENSEADRAGON, "utf8");
      this.emitFile({ type: "asset", fileName: "assets/openseadragon-licence.txt", source });
    },
  };
}

export default defineConfig({
  base: "/viewer/",
  plugins: [licences()],
  build: {
    target: "es2022",
    assetsInlineLimit: 0, // the page's policy allows no data: script, style or font
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 1000,
  },
  server: { proxy: { "/v1": "http://127.0.0.1:8000" } },
});
