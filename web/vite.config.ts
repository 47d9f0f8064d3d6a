// The build must give the same three files each time: the broker embeds them by name.
import { defineConfig } from "vite";

const broker = process.env["TANNIN_BROKER"] ?? "http://127.0.0.1:8099";

export default defineConfig({
  build: {
    target: "es2022",
    modulePreload: false,
    cssCodeSplit: false,
    assetsInlineLimit: 0,
    rollupOptions: {
      output: {
        entryFileNames: "assets/app.js",
        assetFileNames: "assets/app[extname]",
      },
    },
  },
  server: { proxy: { "/v1": broker, "/query": broker, "/version": broker } },
});
