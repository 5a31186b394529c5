// Starts the real gateway binary on free ports, and stops it.

import { spawn } from 'node:child_process';
import dgram from 'node:dgram';
import { existsSync } from 'node:fs';
import path from 'node:path';

const REPO = path.resolve(import.meta.dirname, '../../..');
const READY = /^ready http=(\S+) sip=(\S+) shards=(\d+) calls_max=(\d+)$/m;
const START_MS = 30_000;
const STOP_MS = 10_000;

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.once(signal, () => process.exit(1));

/** The binary under test: built by `./dev test`, or named by `NEXUS_GATEWAY_BIN`. */
function binary() {
  const target = process.env.CARGO_TARGET_DIR ?? path.join(REPO, 'target');
  const file = process.env.NEXUS_GATEWAY_BIN ?? path.join(target, 'debug/nexus-gateway');
  if (!existsSync(file)) throw new Error(`${file} does not exist: run cargo build first`);
  return file;
}

/** A gateway with the built-in demo PBX, or with whatever `env` says; give it back with `stop()`. */
export async function startGateway(env = {}) {
  const [min, max] = await freeUdpRange(env.RTC_PORTS ? Number(env.RTC_PORTS) : 100);
  const child = spawn(binary(), [], {
    // An empty folder of its own would do as well: no `.env` of the developer's may change the tests.
    cwd: path.join(REPO, 'tests/e2e'),
    env: {
      PATH: process.env.PATH,
      HOME: process.env.HOME,
      PORT: '0',
      SIP_PORT: '0',
      PIN_CORES: '0',
      SHARDS: process.env.SHARDS ?? '1',
      RTC_MIN_PORT: String(min),
      RTC_MAX_PORT: String(max),
      LOG_FORMAT: 'json',
      ...env,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  // Whatever ends this process ends the gateway, too.
  process.once('exit', () => child.kill('SIGKILL'));
  let log = '';
  const gone = new Promise((resolve) => child.once('exit', (code, signal) => resolve(code ?? signal)));
  const ready = await new Promise((resolve, reject) => {
    const fail = (why) => {
      child.kill('SIGKILL');
      reject(new Error(`the gateway ${why}; it printed:\n${log}`));
    };
    const timer = setTimeout(() => fail(`was not ready within ${START_MS} ms`), START_MS);
    void gone.then((code) => fail(`exited with ${code} instead of being ready`));
    const read = (chunk) => {
      log += chunk;
      const found = READY.exec(log);
      if (!found) return;
      clearTimeout(timer);
      resolve(found);
    };
    child.stdout.on('data', read);
    child.stderr.on('data', read);
  });

  let stopping = false;
  void gone.then((code) => stopping || console.error(`the gateway ended by itself with ${code}:\n${log.slice(-4000)}`));

  const url = ready[1];
  return {
    url,
    sip: ready[2],
    shards: Number(ready[3]),
    callsMax: Number(ready[4]),
    log: () => log,
    /** `GET` of the REST interface, parsed. */
    async get(route) {
      const response = await fetch(url + route);
      return response.json();
    },
    /** SIGTERM; throws with all that it printed unless it then ends well and in time. */
    async stop() {
      stopping = true;
      const early = child.exitCode ?? child.signalCode;
      child.kill('SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
      const code = await gone;
      clearTimeout(timer);
      if (early !== null) throw new Error(`the gateway had ended with ${early} before it was told to; it printed:\n${log}`);
      if (code !== 0) throw new Error(`the gateway ended with ${code} when it was told to stop; it printed:\n${log}`);
    },
  };
}

/** `count` UDP ports in a row that nobody holds at the moment, starting at an even one. */
async function freeUdpRange(count) {
  for (let attempt = 0; attempt < 50; attempt += 1) {
    const min = 20_000 + 2 * Math.floor(Math.random() * 5_000);
    const free = await Promise.all(Array.from({ length: count + 1 }, (_, index) => isFree(min + index)));
    if (free.every(Boolean)) return [min, min + count];
  }
  throw new Error(`no ${count} free UDP ports in a row`);
}

function isFree(port) {
  return new Promise((resolve) => {
    const socket = dgram.createSocket('udp4');
    socket.once('error', () => resolve(false));
    socket.bind(port, '0.0.0.0', () => socket.close(() => resolve(true)));
  });
}
