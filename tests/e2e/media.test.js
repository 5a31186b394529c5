// Sound, measured in the browser: a stock mediasoup-client against the gateway and its demo PBX, in each codec.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { launchBrowser, openPage } from './lib/browser.js';
import { startGateway } from './lib/gateway.js';
import { bundle, serve } from './lib/site.js';

const TONE_SECONDS = 20;
const ECHO_SECONDS = 10;

let gateway, browser, site;

before(async () => {
  gateway = await startGateway();
  browser = await launchBrowser();
  site = await serve({ phone: await bundle(readFileSync(path.join(import.meta.dirname, 'page/phone.js'), 'utf8')) });
});

after(async () => {
  await browser?.close();
  site?.close();
  await gateway?.stop();
});

for (const mimeType of ['audio/opus', 'audio/PCMU', 'audio/PCMA']) {
  describe(mimeType, () => {
    let page;

    before(async () => {
      page = await openPage(browser, site.url);
      const agentId = mimeType.replace('audio/', 'agent-').toLowerCase();
      await page.evaluate(async ([url, options]) => (window.phone = await Phone.connect(url, options)), [gateway.url, { agentId, mimeType }]);
    });

    after(async () => {
      await page.evaluate(() => phone.close());
      await page.context().close();
    });

    test('20 s of the 1 kHz tone arrive within 1 Hz and with less than 0.5 % lost', async () => {
      const result = await page.evaluate(async (seconds) => {
        const callId = await phone.call('9197');
        const answered = await phone.event('call:answered', callId);
        const before = await phone.counters();
        const frequencies = tones(await phone.hear(seconds));
        const after = await phone.counters();
        const ended = await phone.hangUp(callId);
        return { frequencies, before, after, answered, ended };
      }, TONE_SECONDS);

      assert.equal(`audio/${result.answered.codec.replace('audio/', '')}`.toLowerCase(), mimeType.toLowerCase());
      assert.equal(result.answered.transcoded, false);
      const within = result.frequencies.filter((frequency) => Math.abs(frequency - 1000) <= 1);
      const median = result.frequencies.toSorted((a, b) => a - b)[Math.floor(result.frequencies.length / 2)];
      const received = result.after.received.packets - result.before.received.packets;
      const lost = result.after.received.lost - result.before.received.lost;
      console.log(`${mimeType}: ${median.toFixed(3)} Hz, ${within.length} of ${result.frequencies.length} windows within 1 Hz; ${lost} of ${received + lost} packets lost`);
      assert.ok(Math.abs(median - 1000) <= 1, `median ${median} Hz`);
      assert.ok(within.length >= 0.95 * result.frequencies.length, `only ${within.length} of ${result.frequencies.length} windows: ${result.frequencies.map((f) => f.toFixed(1))}`);
      assert.ok(received > TONE_SECONDS * 50 * 0.97, `${received} packets in ${TONE_SECONDS} s`);
      assert.ok(lost < 0.005 * (received + lost), `${lost} of ${received + lost} packets lost`);
      assert.equal(result.ended.endedBy, 'agent');
      assert.ok(result.ended.duration >= TONE_SECONDS, `a duration of ${result.ended.duration} s`);
    });

    test('the echo returns the beeps of the microphone, and both sides counted the same packets', async () => {
      const result = await page.evaluate(async (seconds) => {
        const quiet = () => new Promise((resolve) => setTimeout(resolve, 1_500));
        // No media before the call and none at its end, so that the two counts begin and stop at the same packet.
        phone.producer.pause();
        await quiet();
        const before = await phone.counters();
        const callId = await phone.call('9196');
        phone.producer.resume();
        const [spoken, heard] = await Promise.all([phone.speak(seconds), phone.hear(seconds)]);
        phone.producer.pause();
        await quiet();
        return { callId, before, after: await phone.counters(), spoken: beeps(spoken), heard: beeps(heard) };
      }, ECHO_SECONDS);
      const { session } = await gateway.get(`/api/webrtc/sessions/${result.callId}`);
      await page.evaluate((callId) => phone.hangUp(callId), result.callId);

      const gap = (begins) => begins.slice(1).map((begin, index) => begin - begins[index]).toSorted((a, b) => a - b)[Math.floor((begins.length - 1) / 2)];
      const [spokenGap, heardGap] = [gap(result.spoken.begins), gap(result.heard.begins)];
      console.log(`${mimeType}: ${result.heard.begins.length} beeps heard of ${result.spoken.begins.length} spoken, every ${heardGap} s of ${spokenGap} s, loudest ${result.heard.loudest.toFixed(3)} of ${result.spoken.loudest.toFixed(3)}`);
      assert.ok(result.spoken.begins.length >= 5, 'the fake microphone beeps');
      // The first may fall into the start of the stream.
      assert.ok(result.heard.begins.length >= result.spoken.begins.length - 2, `${result.heard.begins.length} of ${result.spoken.begins.length} beeps`);
      assert.ok(Math.abs(heardGap - spokenGap) < 0.02, `beeps every ${heardGap} s, not every ${spokenGap} s`);

      const leg = session.legs.find((each) => each.leg === 'webrtc');
      const difference = (what, field) => result.after[what][field] - result.before[what][field];
      near(leg.received.packets, difference('sent', 'packets'), 'packets from the browser');
      near(leg.sent.packets, difference('received', 'packets'), 'packets to the browser');
      near(leg.received.bytes, difference('sent', 'bytes'), 'bytes from the browser');
      near(leg.sent.bytes, difference('received', 'bytes'), 'bytes to the browser');
    });
  });
}

/** Within 1 %. */
function near(gateway, browser, what) {
  assert.ok(browser > 0 && Math.abs(gateway - browser) <= 0.01 * browser, `${what}: the gateway says ${gateway}, the browser ${browser}`);
}
