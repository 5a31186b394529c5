// The agent page as an agent uses it: found by role and name, never by markup.

import assert from 'node:assert/strict';
import path from 'node:path';
import { after, afterEach, before, beforeEach, test } from 'node:test';
import { launchBrowser, openPage, SCREENSHOTS, until } from './lib/browser.js';
import { startGateway } from './lib/gateway.js';

const WIDE = { width: 1440, height: 900 };
const NARROW = { width: 390, height: 844 };

let gateway, browser, page;
let agents = 0;

before(async () => {
  gateway = await startGateway();
  browser = await launchBrowser();
});

after(async () => {
  await browser?.close();
  await gateway?.stop();
});

// Each test is an agent of its own, so that none can leave a call behind for the next.
beforeEach(async () => {
  agents += 1;
  page = await openPage(browser, `${gateway.url}/#agent=agent-${agents}&tenant=demo`);
  await page.getByRole('status').getByText('Speaker connected').waitFor();
  await page.getByRole('status').getByText('Microphone connected').waitFor();
});

afterEach(async () => {
  // What the agent saw last, for whoever has to find out why a test failed.
  await page?.screenshot({ path: path.join(SCREENSHOTS, `last-${agents}.png`), fullPage: true });
  await page?.context().close();
});

const button = (name) => page.getByRole('button', { name, exact: true });
const call = (name) => page.getByRole('article', { name });
const alert = (text) => page.getByRole('alert').getByText(text).waitFor();
const recent = (text) => page.getByRole('list', { name: 'Recent' }).getByText(text).waitFor();
const level = async (name) => Number(await page.getByRole('meter', { name }).getAttribute('aria-valuenow'));
const screenshot = (name) => page.screenshot({ path: path.join(SCREENSHOTS, `${name}.png`), fullPage: true });

async function dial(number) {
  await page.getByRole('textbox', { name: 'Number' }).fill(number);
  await button('Call').click();
}

/** The widest thing on the page fits the window. */
async function fits() {
  const [content, window] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  assert.ok(content <= window, `the page is ${content} px wide in a window of ${window} px`);
}

test('an agent dials the echo, sees both levels, mutes, holds and hangs up', async () => {
  await dial('9196');
  await call('Call to 9196').getByText(/^Connected · 0:0\d · /).waitFor();
  await until('a level of the microphone', async () => (await level('You')) > 20);
  await until('a level of the echo', async () => (await level('Caller')) > 20);
  for (const [name, size] of Object.entries({ 1440: WIDE, 390: NARROW })) {
    await page.setViewportSize(size);
    await fits();
    await screenshot(`talking-${name}`);
  }

  await button('Mute').click();
  await call('Call to 9196').getByText(/^Connected, you are muted/).waitFor();
  await until('silence while muted', () => quietFor(1_500), 15_000);
  await button('Unmute').click();
  await call('Call to 9196').getByText(/^Connected ·/).waitFor();
  await until('the echo again', async () => (await level('Caller')) > 20);

  await button('Hold').click();
  await call('Call to 9196').getByText(/^On hold/).waitFor();
  await button('Resume').click();
  await call('Call to 9196').getByText(/^Connected ·/).waitFor();

  await button('Hang up').click();
  await recent(/^To 9196 · You hung up/);
  await page.getByText('No call.').waitFor();
  assert.deepEqual(page.faults, []);
});

/** Whether nothing is heard of the caller for so long; the fake microphone beeps twice a second. */
async function quietFor(ms) {
  for (const end = Date.now() + ms; Date.now() < end; await page.waitForTimeout(50)) {
    if ((await level('Caller')) > 5) return false;
  }
  return true;
}

test('the tone of 9197 shows as a steady level', async () => {
  await dial('9197');
  await until('the level of the tone', async () => (await level('Caller')) > 40);
  await page.waitForTimeout(2_000);
  const levels = [];
  for (let sample = 0; sample < 10; sample += 1) {
    levels.push(await level('Caller'));
    await page.waitForTimeout(100);
  }
  assert.ok(Math.max(...levels) - Math.min(...levels) <= 4, `levels ${levels}`);
  await button('Hang up').click();
  await recent(/^To 9197 · You hung up/);
});

test('the demo PBX calls back: the agent answers, talks and the caller is named', async () => {
  await dial('9180');
  await call(/^Call from /).waitFor({ timeout: 15_000 });
  await button('Answer').waitFor();
  for (const [name, size] of Object.entries({ 1440: WIDE, 390: NARROW })) {
    await page.setViewportSize(size);
    await fits();
    await screenshot(`incoming-${name}`);
  }
  await button('Answer').click();
  await call(/^Call from /).getByText(/^Connected ·/).waitFor();
  await call(/^Call from /).getByRole('button', { name: 'Hang up' }).click();
  await recent(/^From .* · You hung up/);
});

test('an incoming call can be rejected', async () => {
  await dial('9180');
  await call(/^Call from /).waitFor({ timeout: 15_000 });
  await button('Reject').click();
  await recent(/^From .* · You rejected it/);
});

test('a busy number and one that does not exist are said in words', async () => {
  await dial('6486');
  await alert('6486: This number is busy.');
  await screenshot('busy-1440');
  await dial('6404');
  await alert('6404: This number does not exist.');
  await page.getByText('No call.').waitFor();
  await recent(/^To 6404 · This number does not exist/);
});

test('a call that nobody answers is cancelled', async () => {
  await dial('6408');
  await call('Call to 6408').getByText('Ringing', { exact: true }).waitFor();
  await button('Hang up').click();
  await recent(/^To 6408 · Cancelled/);
});

test('early media is heard before the answer', async () => {
  await dial('9183');
  await call('Call to 9183').getByText('Ringing, with sound').waitFor();
  await until('the level of the ringback', async () => (await level('Caller')) > 20);
  await call('Call to 9183').getByText(/^Connected ·/).waitFor();
  await button('Hang up').click();
});

test('the other side hangs up', async () => {
  await dial('9320');
  await recent(/^To 9320 · The other side hung up · 0:0[23]/);
});

test('the dial pad sends digits, and those that come back are shown', async () => {
  for (const key of ['7', '0', '0', '1']) await button(key).click();
  await button('Call').click();
  await call('Call to 7001').getByText(/^Connected ·/).waitFor();
  for (const key of ['1', '5', 'hash']) {
    await button(key).click();
    await page.waitForTimeout(300);
  }
  await call('Call to 7001').getByText('Digits received: 15#').waitFor();
  await button('Hang up').click();
});

for (const [name, mimeType] of Object.entries({ PCMU: 'audio/PCMU', PCMA: 'audio/PCMA' })) {
  test(`the codec can be changed to ${name}`, async () => {
    await page.getByRole('combobox', { name: 'Codec' }).selectOption(mimeType);
    await dial('9197');
    await call('Call to 9197').getByText(new RegExp(`· ${name}$`)).waitFor();
    await until('the level of the tone', async () => (await level('Caller')) > 40);
    await button('Hang up').click();
  });
}

test('a number that cannot be dialled and an empty one are refused in words', async () => {
  await dial('1');
  await alert('This is not a number that can be dialled.');
  await dial('');
  await alert('Enter a number first.');
});

test('a second sign-in of the same agent takes over and the first page says so', async () => {
  const other = await openPage(browser, page.url());
  await alert(/^You signed in somewhere else/);
  await button('Sign in').waitFor();
  await other.getByRole('status').getByText('Gateway connected').waitFor();
  await other.context().close();
});

test('the sign-in form is there without an identity, and fits a phone', async () => {
  const fresh = await openPage(browser, gateway.url, { viewport: NARROW });
  await fresh.screenshot({ path: path.join(SCREENSHOTS, 'sign-in-390.png'), fullPage: true });
  await fresh.getByRole('textbox', { name: 'Agent' }).fill('agent-by-form');
  await fresh.getByRole('button', { name: 'Sign in' }).click();
  await fresh.getByRole('status').getByText('Speaker connected').waitFor();
  await fresh.screenshot({ path: path.join(SCREENSHOTS, 'idle-390.png'), fullPage: true });
  await fresh.context().close();
});
