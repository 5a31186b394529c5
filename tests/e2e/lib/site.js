// Serves pages made of TypeScript or JavaScript, bundled on the spot as an application's own build would do it.

import http from 'node:http';
import path from 'node:path';
import { build } from 'esbuild';

const HERE = path.resolve(import.meta.dirname, '..');

/** Bundles `source`, whose imports resolve as those of a file in this folder. */
export async function bundle(source, { typescript = false } = {}) {
  const result = await build({
    stdin: { contents: source, resolveDir: HERE, loader: typescript ? 'ts' : 'js', sourcefile: 'page' },
    bundle: true,
    write: false,
    format: 'esm',
    target: 'es2022',
    logLevel: 'silent',
  });
  return result.outputFiles[0].text;
}

/** A site on a free port of localhost: `/` is an empty page that loads `/<name>.js` for each of `scripts`, in order. */
export async function serve(scripts) {
  const page = `<!doctype html><meta charset="utf-8"><title>e2e</title><link rel="icon" href="data:,"><body>${Object.keys(scripts)
    .filter((name) => !name.startsWith('late-'))
    .map((name) => `<script type="module" src="/${name}.js"></script>`)
    .join('')}`;
  const server = http.createServer((request, response) => {
    const script = scripts[request.url.slice(1, -3)];
    if (request.url === '/') response.writeHead(200, { 'content-type': 'text/html' }).end(page);
    else if (script !== undefined) response.writeHead(200, { 'content-type': 'text/javascript' }).end(script);
    else response.writeHead(404).end();
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://localhost:${server.address().port}/`,
    close() {
      server.closeAllConnections();
      server.close();
    },
  };
}
