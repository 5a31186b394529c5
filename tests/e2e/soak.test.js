// Endurance: forty calls in Chromium at once until 200,000 packets have gone each way, none of them lost or refused.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { launchBrowser, openPage } from './lib/browser.js';
import { startGateway } from './lib/gateway.js';
import { bundle, serve } from './lib/site.js';

const CALLS = 40;
const PACKETS = 200_000;
const CODECS = ['audio/opus', 'audio/PCMU', 'audio/PCMA'];
const LOST_MAX = 0.005;

let gateway, browser, site;

before(async () => {
  gateway = await startGateway({ RTC_PORTS: '400' });
  browser = await launchBrowser();
  site = await serve({ phone: await bundle(readFileSync(path.join(import.meta.dirname, 'page/phone.js'), 'utf8')) });
});

after(async () => {
  await browser?.close();
  site?.close();
  assert.equal((await gateway?.stop()) ?? 0, 0, 'the gateway ends cleanly');
});

test(`${PACKETS} packets each way between Chromium and the gateway, every one authenticated`, async () => {
  const page = await openPage(browser, site.url);
  const totals = await page.evaluate(
    async ([url, count, codecs, packets]) => {
      const phones = await Promise.all(
        Array.from({ length: count }, (_, index) =>
          Phone.connect(url, { agentId: `agent-${index}`, mimeType: codecs[index % codecs.length], toneHz: 300 + 40 * index }),
        ),
      );
      const calls = await Promise.all(phones.map((phone) => phone.call('9196')));
      const sum = async () => {
        const counters = await Promise.all(phones.map((phone) => phone.counters()));
        const add = (pick) => counters.reduce((total, each) => total + pick(each), 0);
        return { sent: add((each) => each.sent.packets), received: add((each) => each.received.packets), lost: add((each) => each.received.lost) };
      };
      let totals = await sum();
      while (totals.received < packets || totals.sent < packets) {
        await new Promise((resolve) => setTimeout(resolve, 1_000));
        totals = await sum();
      }
      await Promise.all(phones.map((phone, index) => phone.hangUp(calls[index])));
      return totals;
    },
    [gateway.url, CALLS, CODECS, PACKETS],
  );
  const { shards } = await gateway.get('/api/webrtc/stats');
  const refused = shards.reduce((total, shard) => total + shard.dropped.srtp_rejected, 0);
  console.log(`${totals.sent} sent, ${totals.received} received, ${totals.lost} lost, ${refused} refused by SRTP`);
  assert.equal(refused, 0);
  assert.ok(totals.lost <= LOST_MAX * totals.received, `${totals.lost} lost`);
});
