import { defineConfig } from "vite";

// The result goes beside the templates; `aggregator/web/assets.py` reads its manifest.
export default defineConfig({
  base: "/static/dist/",
  publicDir: false,
  json: { namedExports: false },
  build: {
    outDir: "../web/static/dist",
    emptyOutDir: true,
    manifest: "manifest.json",
    target: "es2022",
    assetsInlineLimit: 0, // the content security policy lets no data: address in
    modulePreload: { polyfill: false },
    rollupOptions: { input: ["src/shell.ts", "src/plain.css"] },
  },
});
