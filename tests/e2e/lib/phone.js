// The agent page as an agent uses it: found by role and name, never by markup.

import { until } from './browser.js';

export class Phone {
  constructor(page) {
    this.page = page;
  }

  button(name) {
    return this.page.getByRole('button', { name, exact: true });
  }

  press(name, options) {
    return this.button(name).click(options);
  }

  /** One of `Server`, `Microphone` and `Audio`, and how it is. */
  connection(words) {
    return this.page.getByRole('status', { name: 'Connection' }).getByText(words);
  }

  /** Signed in, and sound in both directions. */
  async ready() {
    await this.connection('Server connected').waitFor();
    await this.connection('Microphone on').waitFor();
    await this.connection('Audio connected').waitFor();
  }

  get number() {
    return this.page.getByRole('textbox', { name: 'Number' });
  }

  async dial(number) {
    await this.number.fill(number);
    await this.press('Call');
  }

  call(name) {
    return this.page.getByRole('article', { name });
  }

  /** A call's button. */
  control(call, name) {
    return this.call(call).getByRole('button', { name, exact: true });
  }

  /** Dials, and talks. */
  async talk(number) {
    await this.dial(number);
    await this.call(`Call to ${number}`).getByText('Connected', { exact: true }).waitFor();
    return this.call(`Call to ${number}`);
  }

  async tones(keys) {
    for (const key of keys) await this.page.getByRole('group', { name: 'Tones' }).getByRole('button', { name: { '#': 'hash', '*': 'star' }[key] ?? key, exact: true }).click();
  }

  /** An entry of the history. */
  past(words) {
    return this.page.getByRole('list', { name: 'History' }).getByRole('button', { name: words });
  }

  alert(words) {
    return this.page.getByRole('alert').getByText(words);
  }

  async level(name) {
    return Number(await this.page.getByRole('article').getByRole('meter', { name }).first().getAttribute('aria-valuenow'));
  }

  hears(what = 20) {
    return until('a level of the caller', async () => (await this.level('Caller')) > what);
  }

  /** Nothing is heard of the caller for so long; the fake microphone beeps twice a second. */
  hearsNothing(ms = 1_500) {
    let since = Date.now();
    return until(`${ms} ms of silence`, async () => {
      if ((await this.level('Caller')) > 5) since = Date.now();
      return Date.now() - since > ms;
    }, 15_000);
  }
}
