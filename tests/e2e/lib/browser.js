// Debian's Chromium without a window, with a microphone that beeps.

import { mkdirSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import path from 'node:path';
import { chromium } from 'playwright-core';

const EXECUTABLE = process.env.CHROMIUM_BIN ?? '/usr/bin/chromium';
export const SCREENSHOTS = path.resolve(import.meta.dirname, '../screenshots');

/**
 * `hosts`: a list of `"MAP <host:port> <host:port>"` for pages that name an address which is not free here.
 * `microphone`: what the browser says to a page that asks for it.
 */
export async function launchBrowser({ hosts = [], microphone = 'allow' } = {}) {
  mkdirSync(SCREENSHOTS, { recursive: true });
  return chromium.launch({
    executablePath: EXECUTABLE,
    headless: true,
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      '--use-fake-device-for-media-stream',
      microphone === 'allow' ? '--use-fake-ui-for-media-stream' : '--use-fake-ui-for-media-stream=deny',
      '--autoplay-policy=no-user-gesture-required',
      // A machine with no network but loopback: Chromium would find no address to speak from.
      ...(onlyLoopback() ? ['--allow-loopback-in-peer-connection'] : []),
      ...(hosts.length > 0 ? [`--host-resolver-rules=${hosts.join(', ')}`] : []),
    ],
  });
}

/** A page that keeps what its console and its errors said: `page.lines`, `page.faults`. `where`: a browser, or a context of one. */
export async function openPage(where, url, options = {}) {
  const page = await where.newPage('newContext' in where ? { viewport: { width: 1440, height: 900 }, ...options } : undefined);
  page.lines = [];
  page.faults = [];
  page.on('console', (message) => (message.type() === 'error' ? page.faults : page.lines).push(message.text()));
  page.on('pageerror', (error) => page.faults.push(String(error)));
  await page.goto(url);
  return page;
}

/** Waits until `check` gives something true, or says what it waited for. */
export async function until(what, check, timeoutMs = 10_000) {
  const end = Date.now() + timeoutMs;
  for (;;) {
    const value = await check();
    if (value) return value;
    if (Date.now() > end) throw new Error(`waited ${timeoutMs} ms in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

function onlyLoopback() {
  return Object.values(networkInterfaces()).flat().every((address) => address.internal);
}
