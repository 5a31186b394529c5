import { gzipSync } from 'node:zlib';
import { defineConfig, type Plugin } from 'vite';

/** What a first visit may load, packed. */
const BUDGET_KIB = 150;

/** Packs every file beside itself, as the gateway sends it, and ends a build whose first load has grown too large. */
function packed(): Plugin {
  return {
    name: 'packed',
    apply: 'build',
    // After the bundler's own plugins, which put the links to the scripts into the HTML.
    enforce: 'post',
    generateBundle(_options, bundle) {
      let bytes = 0;
      for (const output of Object.values(bundle)) {
        const source = gzipSync(output.type === 'chunk' ? output.code : output.source, { level: 9 });
        bytes += source.length;
        this.emitFile({ type: 'asset', fileName: `${output.fileName}.gz`, source });
      }
      const kib = bytes / 1024;
      const words = `first load: ${kib.toFixed(1)} KiB gzipped of at most ${BUDGET_KIB}`;
      if (kib > BUDGET_KIB) this.error(words);
      this.info(words);
    },
  };
}

export default defineConfig({
  // Relative addresses, so that the page also works behind a proxy's path.
  base: './',
  plugins: [packed()],
  build: {
    target: 'es2022',
    outDir: 'dist',
    emptyOutDir: true,
    // What is embedded in the gateway's binary should be small and the same for the same source.
    sourcemap: false,
    modulePreload: false,
    // The page's policy lets no image come from a data: address.
    assetsInlineLimit: 0,
    // Its figures count each file alone, and again what we have packed.
    reportCompressedSize: false,
  },
  server: {
    // `npm run dev` beside a running gateway: the page reloads on change, everything else goes there.
    proxy: {
      // What the gateway says about itself is asked of `/`, too.
      '^/$': { target: 'http://localhost:3005', bypass: ({ headers, url }) => (headers.accept === 'application/json' ? undefined : url) },
      '/socket.io': { target: 'http://localhost:3005', ws: true },
      '/api': { target: 'http://localhost:3005' },
    },
  },
});
