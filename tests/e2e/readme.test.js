// The usage examples of the original README, run as they stand there. They name http://localhost:3005: the browser is
// told where that is, so that the test needs no fixed port.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { launchBrowser, openPage, until } from './lib/browser.js';
import { startGateway } from './lib/gateway.js';
import { bundle, serve } from './lib/site.js';

const README = readFileSync(path.join(import.meta.dirname, 'original-readme.txt'), 'utf8');

/** The code block behind that heading. */
function example(heading) {
  const found = new RegExp(`^### ${heading}$\\n+\`\`\`\\w+\\n([^]*?)^\`\`\`$`, 'm').exec(README);
  assert.ok(found, `the README has no example "${heading}"`);
  return found[1];
}

// What an application has around the examples: the second and third use `socket`, `device` and `callId` as names that are there.
const KEEP_SOCKET = '\nglobalThis.socket = socket; globalThis.seen = []; socket.onAny((name, payload) => seen.push({ name, ...payload }));\n';
const MAKE_DEVICE = `
  import { Device } from 'mediasoup-client';
  const { capabilities } = await socket.emitWithAck('webrtc:get-router-capabilities');
  globalThis.device = new Device();
  await device.load({ routerRtpCapabilities: capabilities });
`;

let gateway, browser, site;

before(async () => {
  gateway = await startGateway();
  browser = await launchBrowser({ hosts: [`MAP localhost:3005 ${new URL(gateway.url).host.replace('localhost', '127.0.0.1')}`] });
  site = await serve({
    connection: await bundle(example('Client-Side Connection') + KEEP_SOCKET, { typescript: true }),
    'late-device': await bundle(MAKE_DEVICE),
    'late-making-a-call': await bundle(example('Making a Call'), { typescript: true }),
    'late-call-controls': await bundle(example('Call Controls'), { typescript: true }),
  });
});

after(async () => {
  await browser?.close();
  site?.close();
  await gateway?.stop();
});

const run = (page, name) => page.evaluate((file) => import(file), `/${name}.js`);
const seen = (page, name) => page.evaluate((wanted) => globalThis.seen.filter((event) => event.name === wanted), name);

test('the connection example connects, reads the capabilities and is told why its call cannot be made', async () => {
  const page = await openPage(browser, site.url);
  const line = (start) => until(`"${start}"`, () => page.lines.find((each) => each.startsWith(start)));

  await line('Connected:');
  await line('Capabilities:');
  await line('Call initiated:');
  // It dials without a transport: the gateway waits five seconds for one.
  const [failed] = await until('call:failed', async () => (await seen(page, 'call:failed')).length > 0 && seen(page, 'call:failed'), 8_000);
  assert.equal(failed.code, 'MEDIA_NOT_READY');
  assert.deepEqual(page.faults, []);
  await page.context().close();
});

test('the three examples one after another make a call, control it and end it', async () => {
  const page = await openPage(browser, site.url);
  const line = (start) => until(`"${start}"`, () => page.lines.find((each) => each.startsWith(start)));
  await line('Connected:');
  await until('the first example to fail without a transport', async () => (await seen(page, 'call:failed')).length > 0, 8_000);

  await run(page, 'late-device');
  await run(page, 'late-making-a-call');
  const callId = (await line('Call ID:')).slice('Call ID: '.length);
  assert.match(callId, /^[0-9a-f]{8}-[0-9a-f]{4}-7/, 'call ids are UUIDv7');
  await line(`Call ringing: ${callId}`);
  await line(`Call answered: ${callId}`);

  const { session } = await gateway.get(`/api/webrtc/sessions/${callId}`);
  assert.equal(session.state, 'answered');
  assert.equal(session.phoneNumber, '+1234567890');
  assert.equal(session.agentId, 'agent-uuid');

  await page.evaluate((id) => (globalThis.callId = id), callId);
  await run(page, 'late-call-controls');
  for (const said of ['Call on hold', 'Call resumed', 'Muted', 'DTMF sent', 'Transfer initiated', 'Call ended']) {
    assert.equal(await line(`${said}: `), `${said}: true`);
  }
  // The listener of the first example: exactly one end for one call.
  await line(`Call ended: ${callId} Duration:`);
  assert.equal((await seen(page, 'call:ended')).length, 1);
  assert.deepEqual(page.faults, []);
  await page.context().close();
});

test('the curl lines of the README answer without a token on loopback', async () => {
  const page = await openPage(browser, site.url);
  await until('the agent to be connected', () => page.lines.some((each) => each.startsWith('Connected:')));
  const routes = [...README.matchAll(/^curl http:\/\/localhost:3005(\S+)$/gm)].map((found) => found[1]);
  assert.ok(routes.length >= 4);
  for (const route of routes) {
    const response = await fetch(gateway.url + route.replace('{agentId}', 'agent-uuid'));
    assert.equal(response.status, 200, route);
    assert.match(response.headers.get('content-type'), /^application\/json/, route);
    await response.json();
  }
  await page.context().close();
});
