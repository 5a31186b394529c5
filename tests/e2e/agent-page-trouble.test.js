// The agent page when something goes wrong, and what must hold in every state: words, accessibility, size.

import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import { createRequire } from 'node:module';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { launchBrowser, openPage, SCREENSHOTS, until } from './lib/browser.js';
import { startGateway } from './lib/gateway.js';
import { Phone } from './lib/phone.js';
import { startProxy } from './lib/proxy.js';

const SECRET = 'a secret of the tests, 32 bytes long';
const WIDE = { width: 1440, height: 900 };
const NARROW = { width: 390, height: 844 };
const KIB = 1024;

let gateway, browser;

before(async () => {
  gateway = await startGateway({ JWT_SECRET: SECRET, RTC_PORTS: '200' });
  browser = await launchBrowser();
});

after(async () => {
  await browser?.close();
  await gateway?.stop();
});

/** A test with a page of its own at `url`; what it showed last is kept if it fails. */
function on(url, name, run) {
  test(name, async () => {
    const context = await browser.newContext({ viewport: WIDE });
    try {
      const page = await openPage(context, await url());
      await run(new Phone(page), { page, context });
    } catch (error) {
      for (const page of context.pages()) await page.screenshot({ path: path.join(SCREENSHOTS, `failed-${name.slice(0, 30).replaceAll(' ', '-')}.png`) });
      throw error;
    } finally {
      await context.close();
    }
  });
}

/** The same, with a network that can be cut. */
function behindProxy(agent, name, run) {
  let proxy;
  on(
    async () => {
      proxy = await startProxy(gateway.url);
      return `${proxy.url}/#agent=${agent}`;
    },
    name,
    async (phone, { page }) => {
      try {
        await phone.ready();
        await run(phone, { page, proxy });
      } finally {
        proxy.close();
      }
    },
  );
}

/** How long a client that waits between its tries may take, on a busy machine. */
const RECONNECT_MS = 30_000;

const as = (agent) => () => `${gateway.url}/#agent=${agent}`;

/** A token of an agent, as the platform would give it. */
function token(agentId, seconds) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const claims = { sub: agentId, agentId, tenantId: 'demo', role: 'agent', exp: Math.floor(Date.now() / 1000) + seconds };
  const signed = `${part({ alg: 'HS256', typ: 'JWT' })}.${part(claims)}`;
  return `${signed}.${createHmac('sha256', SECRET).update(signed).digest('base64url')}`;
}

async function sessionOf(agentId) {
  const { sessions } = await gateway.get(`/api/webrtc/sessions?agentId=${agentId}`);
  return sessions[0];
}

describe('the agent page in trouble', { concurrency: 4 }, () => {
  behindProxy('lost', 'a lost connection leaves the call its sound, a mute works at once, and is told once connected again', async (phone, { page, proxy }) => {
    const call = await phone.talk('9196');
    await phone.hears();
    proxy.cut();
    await phone.alert('Connection lost. Your call continues.').waitFor();
    await phone.connection('Server reconnecting').waitFor();
    await phone.hears();
    await phone.press('Mute');
    await call.getByText('Connected, you are muted').waitFor();
    await phone.hearsNothing();
    await phone.press('Hold');
    await phone.alert('There is no connection to the gateway just now.').waitFor();
    proxy.heal();
    await phone.connection('Server connected').waitFor({ timeout: RECONNECT_MS });
    await page.getByText('Connection lost.').waitFor({ state: 'detached' });
    await until('the gateway to know of the mute', async () => (await sessionOf('lost')).muted);
    await call.getByText('Connected, you are muted').waitFor();
    await phone.press('Unmute');
    await phone.hears();
  });

  behindProxy('missed', 'a call that ends while the connection is lost is told of, and kept in the history', async (phone, { page, proxy }) => {
    await phone.talk('9196');
    proxy.cut();
    await phone.connection('Server reconnecting').waitFor();
    const { callId } = await sessionOf('missed');
    await fetch(`${gateway.url}/api/webrtc/sessions/${callId}/terminate`, { method: 'POST' });
    proxy.heal();
    // A gateway that sends missed events tells why.
    await phone.past(/to 9196.*(Ended while the connection was lost|Ended by a supervisor)/).waitFor({ timeout: RECONNECT_MS });
    await page.getByText('Ready for calls').waitFor();
  });

  test('a gateway that was restarted has the agent back by itself, with sound', async () => {
    const first = await startGateway();
    const page = await openPage(browser, `${first.url}/#agent=restarted`);
    const phone = new Phone(page);
    await phone.ready();
    await phone.talk('9196');
    await first.stop();
    const second = await startGateway({ PORT: new URL(first.url).port });
    try {
      await page.getByText(/^The call with 9196 ended/).waitFor({ timeout: RECONNECT_MS });
      await phone.ready();
      await phone.talk('9196');
      await phone.hears();
    } finally {
      await page.context().close();
      await second.stop();
    }
  });

  on(as('reloaded'), 'a reload in the middle of a call brings the call and its sound back', async (phone, { page }) => {
    await phone.ready();
    const call = await phone.talk('9196');
    await phone.press('Mute');
    await call.getByText('Connected, you are muted').waitFor();
    // More often than the gateway keeps microphones of an agent.
    for (let reload = 0; reload < 5; reload += 1) {
      await page.reload();
      await phone.connection('Server connected').waitFor();
    }
    await phone.connection('Microphone muted').waitFor();
    await phone.connection('Audio connected').waitFor();
    await call.getByText('Connected, you are muted').waitFor();
    await phone.hearsNothing(1_000);
    await phone.press('Unmute');
    await phone.hears();
    await phone.press('Hang up');
    await phone.past(/to 9196.*You hung up/).waitFor();
  });

  on(as('twice'), 'signing in elsewhere takes the call there, and one click takes it back', async (phone, { page }) => {
    await phone.ready();
    await phone.talk('9196');
    const elsewhere = await openPage(browser, page.url());
    await phone.alert('You signed in somewhere else').waitFor();
    assert.equal(await phone.call('Call to 9196').count(), 0);
    const other = new Phone(elsewhere);
    await other.ready();
    await other.call('Call to 9196').getByText('Connected', { exact: true }).waitFor();
    await other.hears();
    await phone.press('Use this page instead');
    await phone.ready();
    await other.alert('You signed in somewhere else').waitFor();
    await phone.hears();
    await elsewhere.context().close();
  });

  on(as('expired'), 'a token that expires in a call can be renewed, and the call goes on meanwhile', async (phone, { page }) => {
    await phone.ready();
    await phone.press('Sign out');
    await page.getByRole('textbox', { name: 'Token' }).fill('not.a.token');
    await phone.press('Sign in');
    await phone.alert('The gateway does not accept this token.').waitFor();
    // The token alone says who the agent is.
    await page.getByRole('textbox', { name: 'Token' }).fill(token('expiring', 20));
    await phone.press('Sign in');
    await phone.ready();
    await phone.alert(/^Your sign-in ends in \d+ seconds\.$/).waitFor();
    await phone.talk('9196');
    const dialog = page.getByRole('dialog', { name: 'Your sign-in has to be renewed' });
    await dialog.waitFor({ timeout: RECONNECT_MS });
    await dialog.getByRole('textbox', { name: 'New token' }).fill(token('expiring', 3600));
    await phone.press('Stay signed in');
    await phone.connection('Server connected').waitFor();
    await phone.call('Call to 9196').getByText('Connected', { exact: true }).waitFor();
    await phone.hears();
    assert.ok(!page.url().includes('ey'), 'no token in the address');
  });

  test('a blocked microphone is said with what to do, and a call is not begun without', async () => {
    const denying = await launchBrowser({ microphone: 'deny' });
    try {
      const page = await openPage(denying, as('blocked')());
      const phone = new Phone(page);
      await phone.alert('This page may not use your microphone.').waitFor();
      await phone.connection('Microphone not available').waitFor();
      await page.getByText('Not ready for calls').waitFor();
      await phone.press('Dismiss');
      await phone.dial('9196');
      await phone.alert('allow the microphone, then try again').waitFor();
      await phone.button('Try again').waitFor();
      assert.equal(await page.getByRole('article').count(), 0);
      await clean(page, 'a blocked microphone');
    } finally {
      await denying.close();
    }
  });

  test('a network that lets no UDP through is said with what to check', async () => {
    // Nothing listens at the address that the browser is told.
    const unreachable = await startGateway({ WEBRTC_ANNOUNCED_IP: '127.0.0.2', RTC_BIND_IP: '127.0.0.1' });
    try {
      const page = await openPage(browser, unreachable.url);
      const phone = new Phone(page);
      await phone.alert('Your network lets no sound through to the gateway.').waitFor({ timeout: 20_000 });
      await phone.alert(/Your firewall must let UDP pass to 127\.0\.0\.2 port \d+/).waitFor();
      await phone.dial('9196');
      await phone.alert('9196: Your sound was not connected to the gateway in time.').waitFor({ timeout: 15_000 });
      await page.context().close();
    } finally {
      await unreachable.stop();
    }
  });

  test('demo numbers are offered only where the demo PBX answers', async () => {
    const other = await startGateway({ FREESWITCH_HOST: '127.0.0.1:9' });
    try {
      const page = await openPage(browser, `${other.url}/#agent=no-demo`);
      const phone = new Phone(page);
      await phone.ready();
      assert.equal(await page.getByText('Numbers of the demo PBX').count(), 0);
      await page.context().close();
    } finally {
      await other.stop();
    }
  });

  on(as('accessible'), 'every state is accessible, dark and light, on a wide screen and a phone', async (phone, { page, context }) => {
    await phone.ready();
    await page.getByText('Numbers of the demo PBX').waitFor();
    await clean(page, 'idle');
    await phone.press('Keyboard help');
    await clean(page, 'help');
    await page.keyboard.press('Escape');
    await phone.press('Audio settings');
    await clean(page, 'audio settings');
    await page.keyboard.press('Escape');
    await phone.dial('6486');
    await phone.alert('6486: This number is busy.').waitFor();
    await clean(page, 'an error');
    await phone.dial('9180');
    await phone.call(/^Call from /).waitFor({ timeout: 15_000 });
    await clean(page, 'an incoming call');
    await phone.press('Decline');
    await phone.talk('9196');
    await phone.call('Call to 9196').getByText('MOS').waitFor();
    await phone.press('Keypad');
    await clean(page, 'a call with its keypad');
    await phone.press('Transfer');
    await phone.press('Mute');
    await clean(page, 'a muted call, to be transferred');
    await phone.talk('9197');
    await phone.control('Call to 9196', 'Swap').waitFor();
    await clean(page, 'two calls');
    const elsewhere = await context.newPage();
    await elsewhere.goto(page.url());
    await phone.button('Use this page instead').waitFor();
    await clean(page, 'taken over');
    await elsewhere.close();
    await phone.press('Use this page instead');
    await phone.press('Sign out');
    await clean(page, 'sign-in');
    assert.deepEqual(page.faults, []);
  });

  test('what a first visit loads is less than 150 KiB, packed, and confined by its headers', async () => {
    const load = (route, accept) =>
      new Promise((resolve, reject) => {
        http.get(gateway.url + route, { headers: { accept, 'accept-encoding': 'gzip' } }, (response) => {
          let bytes = 0;
          response.on('data', (chunk) => (bytes += chunk.length));
          response.on('end', () => resolve({ bytes, headers: response.headers, status: response.statusCode }));
        }).on('error', reject);
      });
    const page = await load('/', 'text/html');
    const html = await (await fetch(gateway.url, { headers: { accept: 'text/html' } })).text();
    const files = [...html.matchAll(/(?:src|href)="\.(\/[^"]+)"/g)].map(([, route]) => route);
    assert.ok(files.length >= 3, html);
    let total = page.bytes;
    for (const file of files) {
      const { bytes, headers, status } = await load(file, '*/*');
      assert.deepEqual([status, headers['content-encoding']], [200, 'gzip'], file);
      total += bytes;
    }
    console.log(`first load: ${(total / KIB).toFixed(1)} KiB`);
    assert.ok(total > 20 * KIB && total < 150 * KIB, `${total} bytes`);
    assert.match(page.headers['content-security-policy'], /default-src 'none'; script-src 'self'; style-src 'self';.*require-trusted-types-for 'script'/);
    assert.equal(page.headers['x-content-type-options'], 'nosniff');
    assert.equal(page.headers['referrer-policy'], 'no-referrer');
    assert.match(page.headers['permissions-policy'], /microphone=\(self\)/);
  });
});

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** No violation of WCAG A and AA, and nothing wider than the window. */
async function clean(page, state) {
  if (!(await page.evaluate(() => 'axe' in window))) await page.evaluate(AXE);
  // A colour that is still fading is nobody's contrast.
  await page.emulateMedia({ reducedMotion: 'reduce' });
  for (const viewport of [WIDE, NARROW]) {
    await page.setViewportSize(viewport);
    for (const colorScheme of ['light', 'dark']) {
      await page.emulateMedia({ colorScheme });
      await page.locator(`html[data-theme=${colorScheme}]`).waitFor();
      const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ['violations'] }));
      const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html, failureSummary }) => `${html}\n${failureSummary}`).join('\n')}`);
      assert.deepEqual(found, [], `${state}, ${viewport.width} px, ${colorScheme}`);
    }
    const content = await page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(content <= viewport.width, `${state}: ${content} px wide in a window of ${viewport.width} px`);
  }
  await page.setViewportSize(WIDE);
}
