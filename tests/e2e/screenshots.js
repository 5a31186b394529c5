// Takes the pictures of the agent page: every main state, on a wide screen and on a phone, dark and light.
// `npm run screenshots`: all into tests/e2e/screenshots/, and the README's into web/screenshots/.

import { copyFileSync, mkdirSync } from 'node:fs';
import path from 'node:path';
import { launchBrowser, openPage, SCREENSHOTS } from './lib/browser.js';
import { startGateway } from './lib/gateway.js';
import { Phone } from './lib/phone.js';

const SIZES = { 1440: { width: 1440, height: 900 }, 390: { width: 390, height: 844 } };
const OF_THE_README = { 'two-calls-1440-light': 'agent-1440.png', 'talking-390-dark': 'agent-390.png' };
const AGENTS = { '1440-light': 'anna', '1440-dark': 'ben', '390-light': 'clara', '390-dark': 'david' };
const README_FOLDER = path.resolve(import.meta.dirname, '../../web/screenshots');

const only = process.argv[2] ?? '';
const gateway = await startGateway();
const browser = await launchBrowser();

async function take(agent, size, colorScheme) {
  const page = await openPage(browser, `${gateway.url}/#agent=${agent}`, { viewport: SIZES[size], colorScheme, reducedMotion: 'reduce' });
  const phone = new Phone(page);
  const shot = (state) => page.screenshot({ path: path.join(SCREENSHOTS, `${state}-${size}-${colorScheme}.png`) });
  await phone.ready();
  await shot('idle');

  await phone.dial('9180');
  await phone.call('Call to 9180').getByText('Connected').waitFor();
  await phone.past(/9180/).waitFor();
  await phone.call(/^Call from /).waitFor({ timeout: 15_000 });
  await shot('incoming');
  await phone.press('Decline');
  await phone.call(/^Call from /).waitFor({ state: 'detached' });

  await phone.dial('6486');
  await phone.alert('6486: This number is busy.').waitFor();
  await shot('error');
  await phone.press('Dismiss');

  await phone.dial('6408');
  await phone.call('Call to 6408').getByText('Ringing', { exact: true }).waitFor();
  await shot('ringing');
  await phone.press('Cancel');
  await phone.past(/6408/).waitFor();

  await phone.dial('9196');
  await phone.call('Call to 9196').getByText('MOS').waitFor();
  await phone.call('Call to 9196').getByText(/^0:0[6-9]/).waitFor();
  await shot('talking');
  await phone.press('Keypad');
  await phone.tones('1');
  await shot('keypad');
  await phone.press('Keypad');
  await phone.dial('9197');
  await phone.call('Call to 9197').getByText('% lost').waitFor();
  await phone.call('Call to 9196').getByText('On hold').waitFor();
  await shot('two-calls');

  await phone.press('Audio settings');
  await shot('audio');
  await page.keyboard.press('Escape');
  await phone.press('Keyboard help');
  await shot('help');
  await page.keyboard.press('Escape');

  const other = await openPage(browser, page.url());
  await phone.press('Use this page instead', { trial: true });
  await shot('taken-over');
  await other.context().close();
  await phone.press('Use this page instead');
  for (const number of ['9197', '9196']) await phone.call(`Call to ${number}`).getByRole('button', { name: 'Hang up' }).click();
  await phone.press('Sign out');
  await page.getByRole('button', { name: 'Sign in' }).waitFor();
  await shot('sign-in');
  await page.context().close();
}

try {
  const wanted = Object.keys(SIZES).flatMap((size) => ['light', 'dark'].map((scheme) => [size, scheme])).filter((each) => each.join('-').includes(only));
  await Promise.all(wanted.map(([size, scheme]) => take(AGENTS[`${size}-${scheme}`], size, scheme)));
  mkdirSync(README_FOLDER, { recursive: true });
  for (const [from, to] of Object.entries(OF_THE_README)) if (from.includes(only)) copyFileSync(path.join(SCREENSHOTS, `${from}.png`), path.join(README_FOLDER, to));
} finally {
  await browser.close();
  await gateway.stop();
}
