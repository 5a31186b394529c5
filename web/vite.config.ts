import { defineConfig } from 'vite';

export default defineConfig({
  // Relative addresses, so that the page also works behind a proxy's path.
  base: './',
  build: {
    target: 'es2022',
    outDir: 'dist',
    emptyOutDir: true,
    // What is embedded in the gateway's binary should be small and the same for the same source.
    sourcemap: false,
    reportCompressedSize: true,
  },
  server: {
    // `npm run dev` beside a running gateway: the page reloads on change, everything else goes there.
    proxy: {
      '/socket.io': { target: 'http://localhost:3005', ws: true },
      '/api': { target: 'http://localhost:3005' },
    },
  },
});
