// SIPp as the PBX: many calls at once, both ways, against agents in Chromium.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import dgram from 'node:dgram';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { launchBrowser, openPage, until } from './lib/browser.js';
import { startGateway } from './lib/gateway.js';
import { bundle, serve } from './lib/site.js';

const AGENTS = 10;
const CALLS = 200;
const CALLS_PER_SECOND = 20;
const SHARED_PORT_CALLS = 40;

let browser, site, phone;

before(async () => {
  phone = await bundle(readFileSync(path.join(import.meta.dirname, 'page/phone.js'), 'utf8'));
  site = await serve({ phone });
  browser = await launchBrowser();
});

after(async () => {
  await browser?.close();
  site?.close();
});

for (const shards of [1, 2]) {
  describe(`with ${shards} shard${shards > 1 ? 's' : ''}`, () => {
    let gateway, folder, peer, page;

    before(async () => {
      folder = mkdtempSync(path.join(tmpdir(), 'sipp-'));
      peer = await freePort();
      gateway = await startGateway({
        SHARDS: String(shards),
        FREESWITCH_HOST: `127.0.0.1:${peer}`,
        MAX_CALLS_PER_AGENT: '4',
        RESUME_GRACE_SECONDS: '1',
        RTC_PORTS: '400',
      });
    });

    after(async () => {
      await gateway?.stop();
      rmSync(folder, { recursive: true, force: true });
    });

    /** A page with that many agents, each of its own tenant so that they spread over the shards, each sending its own tone. */
    async function connectAgents(count) {
      page = await openPage(browser, site.url);
      await page.evaluate(
        async ([url, agents]) => {
          window.phones = await Promise.all(
            Array.from({ length: agents }, (_, index) =>
              Phone.connect(url, { agentId: `agent-${index}`, tenantId: `tenant-${index}`, mimeType: 'audio/PCMU', toneHz: 300 + 40 * index }),
            ),
          );
        },
        [gateway.url, count],
      );
    }

    test(`SIPp calls: ${CALLS} calls at ${CALLS_PER_SECOND} a second, each with its own media port, none failed`, async () => {
      await connectAgents(AGENTS);
      await page.evaluate(() => {
        for (const phone of phones) phone.socket.on('call:incoming', ({ callId }) => phone.ask('call:answer', { callId }));
      });
      const list = path.join(folder, 'agents.csv');
      writeFileSync(list, `SEQUENTIAL\n${Array.from({ length: AGENTS }, (_, index) => `agent-${index}\n`).join('')}`);
      const sipp = startSipp(folder, ['-sf', 'caller.xml', '-inf', list, '-p', peer, '-m', CALLS, '-r', CALLS_PER_SECOND, sipAddress(gateway)]);
      assert.equal(await sipp.done, 0, sipp.report());

      const events = await page.evaluate(() => phones.flatMap((phone) => phone.events.map((event) => event.name)));
      const count = (name) => events.filter((event) => event === name).length;
      await until('the last call to end', async () => (await gateway.get('/api/webrtc/stats')).calls.active === 0);
      assert.equal(count('call:incoming'), CALLS);
      assert.equal(count('call:answered'), CALLS);
      assert.equal(count('call:failed'), 0);
    });

    test(`SIPp is called: ${CALLS} calls at ${CALLS_PER_SECOND} a second, each with its own media port, none failed`, async () => {
      const sipp = startSipp(folder, ['-sf', 'callee.xml', '-p', peer, '-m', CALLS, '-aa']);
      const result = await page.evaluate(
        async ([calls, perSecond]) => {
          const start = performance.now();
          let failures = [];
          const one = async (phone) => {
            const callId = await phone.call('+49301234567');
            await new Promise((resolve) => setTimeout(resolve, 200));
            await phone.hangUp(callId);
          };
          // Each agent takes its turn; a call that is late makes the agent's next one late, never two at once.
          const turns = phones.map(() => Promise.resolve());
          for (let call = 0; call < calls; call += 1) {
            const wait = start + (call * 1000) / perSecond - performance.now();
            if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait));
            const agent = call % phones.length;
            turns[agent] = turns[agent].then(() => one(phones[agent])).catch((error) => failures.push(String(error)));
          }
          await Promise.all(turns);
          return { failures, seconds: (performance.now() - start) / 1000 };
        },
        [CALLS, CALLS_PER_SECOND],
      );
      assert.deepEqual(result.failures, []);
      assert.equal(await sipp.done, 0, sipp.report());
      console.log(`${CALLS} calls dialled and ended in ${result.seconds.toFixed(1)} s`);
      assert.ok(result.seconds < (CALLS / CALLS_PER_SECOND) * 1.5, `the gateway did not keep up: ${result.seconds} s`);
      await page.context().close();
    });

    test(`${SHARED_PORT_CALLS} calls at once share one media port of SIPp, and every leg hears its own tone`, async () => {
      await until('the agents of the test before to be gone', async () => (await gateway.get('/api/webrtc/stats')).agents === 0, 60_000);
      const mediaPort = await freePort();
      const sipp = startSipp(folder, ['-sf', 'callee-one-port.xml', '-p', peer, '-m', SHARED_PORT_CALLS, '-mp', mediaPort, '-rtp_echo', '-aa']);
      await connectAgents(SHARED_PORT_CALLS);
      const heard = await page.evaluate(async () => {
        const calls = await Promise.all(phones.map((phone) => phone.call('+49301234567')));
        await new Promise((resolve) => setTimeout(resolve, 2_000));
        const pitches = [];
        for (let from = 0; from < phones.length; from += 10) {
          pitches.push(...(await Promise.all(phones.slice(from, from + 10).map((phone) => phone.pitch()))));
        }
        await Promise.all(phones.map((phone, index) => phone.hangUp(calls[index])));
        return pitches;
      });
      assert.equal(await sipp.done, 0, sipp.report());
      const wrong = heard.map(({ hz, decibels }, index) => ({ hz, decibels, expected: 300 + 40 * index })).filter(({ hz, expected }) => Math.abs(hz - expected) > 10);
      assert.deepEqual(wrong, []);
      await page.context().close();
    });

    test('afterwards nothing is left open', async () => {
      // Timer I of RFC 3261 and the 64*T1 of RFC 6026 keep ended transactions for up to 32 s.
      const left = (shard) => ['agents', 'calls', 'transports', 'sipTransactions', 'dialogs', 'portsInUse', 'deadlines'].filter((what) => shard[what] !== 0);
      let stats;
      await until(
        'every slot, port and deadline to be given back',
        async () => {
          stats = await gateway.get('/api/webrtc/stats');
          return stats.shards.every((shard) => left(shard).length === 0);
        },
        60_000,
      ).catch((error) => assert.fail(`${error.message}: ${JSON.stringify(stats.shards)}`));
      assert.equal(stats.shards.length, shards);
    });
  });
}

function sipAddress(gateway) {
  return gateway.sip.replace(/^\[::\]|^0\.0\.0\.0/, '127.0.0.1');
}

/** Runs SIPp with one of our scenarios; `done` gives its exit code, 0 when every call was as the scenario says. */
function startSipp(folder, args) {
  const [flag, scenario, ...rest] = args;
  const child = spawn(
    'sipp',
    [flag, path.join(import.meta.dirname, 'sipp', scenario), ...rest, '-i', '127.0.0.1', '-mi', '127.0.0.1', '-nostdin', '-timeout', '90', '-timeout_error', '-trace_err', '-trace_error_codes'].map(String),
    { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, TERM: 'dumb' } },
  );
  let output = '';
  const keep = (chunk) => (output = (output + chunk).slice(-4_000));
  child.stdout.on('data', keep);
  child.stderr.on('data', keep);
  const done = new Promise((resolve) => child.once('exit', (code, signal) => resolve(code ?? signal)));
  process.once('exit', () => child.kill('SIGKILL'));
  return { done, report: () => output };
}

function freePort() {
  return new Promise((resolve, reject) => {
    const socket = dgram.createSocket('udp4');
    socket.once('error', reject);
    socket.bind(0, '127.0.0.1', () => {
      const { port } = socket.address();
      socket.close(() => resolve(port));
    });
  });
}
