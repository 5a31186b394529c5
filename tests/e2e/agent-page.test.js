// The agent page in everyday use, found by role and name. Each test is an agent of its own, so several run at once.

import assert from 'node:assert/strict';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { launchBrowser, openPage, SCREENSHOTS, until } from './lib/browser.js';
import { startGateway } from './lib/gateway.js';
import { Phone } from './lib/phone.js';

const FROM_PBX = /^Call from /;

let gateway, browser;
let agents = 0;

before(async () => {
  gateway = await startGateway({ RTC_PORTS: '200' });
  browser = await launchBrowser();
});

after(async () => {
  await browser?.close();
  await gateway?.stop();
});

/** A test of one agent, signed in and with sound. What the agent saw last is kept for whoever has to find out why it failed. */
function as(name, run, { options, prepare } = {}) {
  test(name, async () => {
    const agent = `agent-${(agents += 1)}`;
    const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, ...options });
    if (prepare) await context.addInitScript(prepare);
    const page = await openPage(context, `${gateway.url}/#agent=${agent}`);
    const phone = new Phone(page);
    try {
      await phone.ready();
      await run(phone, { page, context, agent });
      assert.deepEqual(page.faults, []);
    } catch (error) {
      await page.screenshot({ path: path.join(SCREENSHOTS, `failed-${agent}.png`), fullPage: true });
      throw error;
    } finally {
      await context.close();
    }
  });
}

/** Every tone that the page makes by itself, by its frequency; every speaker that it chose. */
function listen() {
  window.heard = [];
  window.chosen = [];
  const { start } = AudioScheduledSourceNode.prototype;
  AudioScheduledSourceNode.prototype.start = function (...when) {
    window.heard.push(this.frequency?.value);
    return start.apply(this, when);
  };
  const { setSinkId } = HTMLMediaElement.prototype;
  HTMLMediaElement.prototype.setSinkId = function (id) {
    window.chosen.push(id);
    return setSinkId.call(this, id);
  };
  const { getUserMedia } = MediaDevices.prototype;
  MediaDevices.prototype.getUserMedia = async function (wanted) {
    const stream = await getUserMedia.call(this, wanted);
    [window.microphone] = stream.getAudioTracks();
    return stream;
  };
}

const heard = (page, frequency) => until(`a tone of ${frequency} Hz`, () => page.evaluate((wanted) => window.heard.includes(wanted), frequency));

describe('the agent page', { concurrency: 4 }, () => {
  as('an agent dials the echo, sees levels and quality, mutes, holds and hangs up', async (phone, { page }) => {
    const call = await phone.talk('9196');
    await call.getByText(/^0:0\d$/).waitFor();
    await call.getByText('Opus').waitFor();
    await until('a level of the microphone', async () => (await phone.level('You')) > 20);
    await phone.hears();
    await call.getByText(/^(Good|Fair|Poor)$/).waitFor();
    await call.getByText(/MOS \d\.\d .*round trip/).waitFor();

    await phone.press('Mute');
    await call.getByText('Connected, you are muted').waitFor();
    await phone.connection('Microphone muted').waitFor();
    await phone.hearsNothing();
    await phone.press('Unmute');
    await phone.hears();

    await phone.press('Hold');
    await call.getByText('On hold').waitFor();
    await phone.press('Resume');
    await call.getByText('Connected', { exact: true }).waitFor();
    await phone.hears();

    assert.match(await page.title(), /^0:\d\d 9196 - NexusDialer$/);
    await phone.press('Hang up');
    await phone.past(/to 9196.*You hung up · 0:/).waitFor();
    await page.getByText('Ready for calls').waitFor();
    assert.equal(await page.title(), 'NexusDialer');
  });

  as('a call is made, muted, held and ended by the keyboard alone', async (phone, { page }) => {
    const call = phone.call('Call to 7001');
    await page.keyboard.type('7001');
    await page.keyboard.press('Enter');
    await call.getByText('Connected', { exact: true }).waitFor();
    await page.keyboard.type('m');
    assert.equal(await phone.number.inputValue(), 'm', 'a key belongs to the field that is typed in');
    await page.keyboard.press('Backspace');
    await phone.number.blur();

    await page.keyboard.press('m');
    await call.getByText('Connected, you are muted').waitFor();
    await page.keyboard.press('m');
    await page.keyboard.press('h');
    await call.getByText('On hold').waitFor();
    await page.keyboard.press('h');
    await call.getByText('Connected', { exact: true }).waitFor();

    await page.keyboard.press('k');
    await page.getByRole('group', { name: 'Tones' }).waitFor();
    await page.keyboard.type('15#');
    await call.getByText('Sent 15#').waitFor();
    await call.getByText('Received 15#').waitFor();
    assert.equal(await phone.number.inputValue(), '');
    await page.keyboard.press('Escape');
    await page.getByRole('group', { name: 'Tones' }).waitFor({ state: 'detached' });
    await page.keyboard.press('t');
    assert.equal(await page.evaluate(() => document.activeElement.ariaLabel), 'Transfer to');
    await page.keyboard.press('Escape');
    await page.getByRole('form', { name: 'Transfer' }).waitFor({ state: 'detached' });
    assert.equal(await call.count(), 1, 'Escape alone ends no call');
    await phone.control('Call to 7001', 'Hold').focus();
    await page.keyboard.press('Enter');
    await phone.control('Call to 7001', 'Resume').waitFor();
    assert.equal(await page.evaluate(() => document.activeElement.innerText.split('\n')[0]), 'Resume', 'the focus stays where the agent works');
    await page.keyboard.press('Shift+Escape');
    await phone.past(/to 7001/).waitFor();

    await page.keyboard.press('?');
    await page.getByRole('dialog', { name: 'Keyboard' }).getByRole('checkbox', { name: /single keys/ }).uncheck();
    await page.keyboard.press('Escape');
    await page.getByRole('dialog').waitFor({ state: 'detached' });
    assert.equal(await page.evaluate(() => document.activeElement.tagName), 'SECTION', 'the focus is where it was before the dialog');
    await page.keyboard.type('99');
    assert.equal(await phone.number.inputValue(), '', 'no single keys if the agent wants none');
  });

  as('a second call holds the first, one click swaps them, and a third is not offered', async (phone) => {
    await phone.talk('9196');
    const second = await phone.talk('9197');
    await phone.call('Call to 9196').getByText('On hold').waitFor();
    await phone.hears(40);
    assert.ok(await phone.button('Call').isDisabled());

    await phone.control('Call to 9196', 'Swap').click();
    await phone.call('Call to 9196').getByText('Connected', { exact: true }).waitFor();
    await second.getByText('On hold').waitFor();
    await phone.control('Call to 9197', 'Swap').waitFor();

    await phone.control('Call to 9196', 'Hang up').click();
    await phone.past(/to 9196/).waitFor();
    await phone.control('Call to 9197', 'Resume').click();
    await second.getByText('Connected', { exact: true }).waitFor();
    await phone.control('Call to 9197', 'Hang up').click();
    await phone.past(/to 9197/).waitFor();
  });

  as('a call is transferred, and the history says to whom', async (phone, { page }) => {
    await phone.talk('9196');
    await phone.press('Transfer');
    await page.getByRole('textbox', { name: 'Transfer to' }).fill('2001');
    await page.keyboard.press('Enter');
    await phone.past(/to 9196.*Transferred to 2001/).waitFor();
  });

  as(
    'an incoming call rings, flashes, notifies, and is answered by the notification',
    async (phone, { page }) => {
      await phone.dial('9180');
      await phone.call(FROM_PBX).getByText('Incoming call').waitFor({ timeout: 15_000 });
      await heard(page, 660);
      await until('the title to flash', async () => /^Incoming call: /.test(await page.title()));
      assert.match(await page.evaluate(() => window.notified.title), /^Incoming call: Demo PBX/);
      await page.evaluate(() => window.notified.dispatchEvent(new Event('click')));
      await phone.call(FROM_PBX).getByText('Connected', { exact: true }).waitFor();
      assert.ok(await page.evaluate(() => window.notified.closed));
      await phone.control(FROM_PBX, 'Hang up').click();
      await phone.past(/from Demo PBX.*You hung up/).waitFor();
    },
    {
      prepare: `(${listen})();
        document.hasFocus = () => false;
        window.Notification = class extends EventTarget {
          static permission = 'granted';
          constructor(title) { super(); this.title = title; window.notified = this; }
          close() { this.closed = true; }
        };`,
    },
  );

  as('an incoming call is answered with a key while another is talked on, and the first is held', async (phone, { page }) => {
    await phone.dial('9180');
    await phone.past(/to 9180/).waitFor();
    await phone.talk('9196');
    await phone.number.blur();
    await phone.call(FROM_PBX).getByText('Incoming call').waitFor({ timeout: 15_000 });
    await page.keyboard.press('a');
    await phone.call(FROM_PBX).getByText('Connected', { exact: true }).waitFor();
    await phone.call('Call to 9196').getByText('On hold').waitFor();
  });

  as('an incoming call is declined', async (phone) => {
    await phone.dial('9180');
    await phone.call(FROM_PBX).waitFor({ timeout: 15_000 });
    await phone.press('Decline');
    await phone.past(/from Demo PBX.*You declined it/).waitFor();
  });

  as('the history outlives the page, calls again with one click, and can be cleared and brought back', async (phone, { page }) => {
    await phone.dial('9320');
    await phone.past(/to 9320.*They hung up · 0:0[23]/).waitFor();
    await page.reload();
    await phone.ready();
    // Twice within a moment is once.
    await phone.past(/to 9320/).dblclick();
    await phone.call('Call to 9320').getByText('Connected', { exact: true }).waitFor();
    assert.equal(await phone.call('Call to 9320').count(), 1);
    await until('two entries', async () => (await phone.past(/to 9320/).count()) === 2);
    await phone.press('Clear');
    await phone.past(/to 9320/).first().waitFor({ state: 'detached' });
    await phone.press('Undo');
    await until('both entries again', async () => (await phone.past(/to 9320/).count()) === 2);
    await phone.press('Call');
    assert.equal(await phone.number.inputValue(), '9320', 'the last number, as every telephone brings it back');
  });

  as('calls that come to nothing are said in words, with advice', async (phone, { page }) => {
    for (const [number, words] of [['6486', 'This number is busy.'], ['6404', 'This number does not exist.']]) {
      await phone.dial(number);
      await phone.alert(`${number}: ${words}`).waitFor();
      await phone.past(new RegExp(`to ${number}`)).waitFor();
    }
    await phone.press('Call again');
    await until('a second try', async () => (await phone.past(/to 6404/).count()) === 2);
    await phone.dial('1');
    await phone.alert('This is not a number that can be dialled.').waitFor();
    await phone.dial('6408');
    await phone.call('Call to 6408').getByText('Ringing', { exact: true }).waitFor();
    await phone.press('Cancel');
    await phone.past(/to 6408.*Cancelled/).waitFor();
    assert.equal(await page.getByRole('alert').count(), 0, 'what is over is not shown any more');
  });

  as('signing out in a call asks first, and then leaves nobody on the line', async (phone, { page, agent }) => {
    await phone.talk('9196');
    await phone.press('Sign out');
    await phone.alert('You have a call.').waitFor();
    await phone.press('Hang up and sign out');
    await page.getByRole('form', { name: 'Sign in' }).waitFor();
    await until('the call to end', async () => (await gateway.get(`/api/webrtc/sessions?agentId=${agent}`)).count === 0);
  });

  as('early media is heard before the answer', async (phone) => {
    await phone.dial('9183');
    await phone.call('Call to 9183').getByText('Ringing, with sound').waitFor();
    await phone.call('Call to 9183').getByText('Connected', { exact: true }).waitFor({ timeout: 15_000 });
    await phone.hears();
  });

  as('the keypad of a call plays its tones and sends them, the other one only types', async (phone, { page }) => {
    for (const key of '7001') await page.getByRole('group', { name: 'Number keys' }).getByRole('button', { name: key, exact: true }).click();
    await phone.press('Delete the last digit');
    await phone.number.press('End');
    await phone.number.press('1');
    await phone.press('Call');
    const call = phone.call('Call to 7001');
    await call.getByText('Connected', { exact: true }).waitFor();
    await phone.press('Keypad');
    await phone.tones('*5');
    await call.getByText('Sent *5').waitFor();
    await call.getByText('Received *5').waitFor();
    await heard(page, 770);
  }, { prepare: listen });

  as('another microphone and speaker are taken, and an unplugged microphone is replaced in the middle of a call', async (phone, { page }) => {
    await phone.talk('9196');
    await phone.press('Audio settings');
    const dialog = page.getByRole('dialog', { name: 'Audio settings' });
    await dialog.getByRole('combobox', { name: 'Microphone' }).selectOption({ label: 'Fake Audio Input 2' });
    await until('the other microphone', () => page.evaluate(() => window.microphone.label === 'Fake Audio Input 2' && window.microphone.readyState === 'live'));
    await until('its level', async () => Number(await dialog.getByRole('meter', { name: 'Level' }).getAttribute('aria-valuenow')) > 20);
    await dialog.getByRole('combobox', { name: 'Speaker' }).selectOption({ index: 1 });
    await until('the other speaker', () => page.evaluate(() => window.chosen.at(-1) !== ''));
    await dialog.getByRole('button', { name: 'Play a test tone' }).click();
    await heard(page, 523);
    assert.ok(await dialog.getByRole('combobox', { name: 'Codec' }).isDisabled(), 'the codec of a call is agreed on');
    await page.keyboard.press('Escape');
    await phone.hears();

    await page.evaluate(() => {
      const pulled = window.microphone;
      pulled.stop();
      pulled.dispatchEvent(new Event('ended'));
    });
    await page.getByText('Your microphone was unplugged.').waitFor();
    await phone.connection('Microphone on').waitFor();
    await phone.hears();
  }, { prepare: listen });

  for (const [codec, label] of [['PCMU', 'G.711 µ-law (PCMU)'], ['PCMA', 'G.711 A-law (PCMA)']]) {
    as(`a call is coded in ${codec} once the agent has chosen it`, async (phone, { page }) => {
      await phone.press('Audio settings');
      await page.getByRole('combobox', { name: 'Codec' }).selectOption({ label });
      await page.keyboard.press('Escape');
      const call = await phone.talk('9197');
      await call.getByText(codec).waitFor();
      await phone.hears(40);
    });
  }
});
