// A TCP proxy in front of the gateway's HTTP port, which can lose its network.

import net from 'node:net';

export async function startProxy(url) {
  const { hostname, port } = new URL(url);
  const sockets = new Set();
  let isCut = false;
  const server = net.createServer((near) => {
    if (isCut) return near.destroy();
    const far = net.connect(Number(port), hostname);
    for (const [one, other] of [[near, far], [far, near]]) {
      sockets.add(one);
      one.pipe(other);
      one.on('error', () => other.destroy());
      one.on('close', () => {
        sockets.delete(one);
        other.destroy();
      });
    }
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const drop = () => sockets.forEach((socket) => socket.destroy());
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    /** Every connection breaks, and no new one comes through until `heal`. */
    cut() {
      isCut = true;
      drop();
    },
    heal() {
      isCut = false;
    },
    close() {
      drop();
      server.close();
    },
  };
}
