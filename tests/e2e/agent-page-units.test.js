// The parts of the agent page that need no browser: words, calls, quality.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { before, describe, test } from 'node:test';
import { bundle } from './lib/site.js';

const REPO = path.resolve(import.meta.dirname, '../..');

let page;

before(async () => {
  const source = ['words', 'calls', 'quality'].map((name) => `export * from '../../web/src/${name}';`).join('\n');
  const script = await bundle(source, { typescript: true });
  page = await import(`data:text/javascript;base64,${Buffer.from(script).toString('base64')}`);
});

describe('words', () => {
  test('every code that the gateway can send has words of its own', () => {
    const source = readFileSync(path.join(REPO, 'src/call/error.rs'), 'utf8');
    const codes = [...source.matchAll(/Code::\w+ => "([A-Z_]+)"/g)].map(([, code]) => code);
    assert.ok(codes.length >= 29, `${codes.length} codes found`);
    const unspoken = codes.filter((code) => page.ofCode(code, 'the words of the gateway').text === 'the words of the gateway');
    assert.deepEqual(unspoken, []);
    for (const code of codes) assert.match(page.ofCode(code, '').text, /^[A-Z].*\.$/);
  });

  test('a code that is not known keeps the words of the gateway', () => {
    assert.deepEqual(page.ofCode('FROM_THE_FUTURE', 'the moon is full'), { text: 'the moon is full' });
    assert.deepEqual(page.ofCode('FROM_THE_FUTURE', ''), { text: 'FROM_THE_FUTURE' });
  });

  test('a refusal of the telephone system is told by its own answer, and by its code where that is unusual', () => {
    assert.equal(page.ofCode('SIP_REJECTED', '', 486).text, 'This number is busy.');
    assert.equal(page.ofCode('SIP_REJECTED', '', 499).text, 'The telephone system refused this.');
  });

  test('a refused sign-in and a dead network are told apart', () => {
    assert.match(page.ofConnectError(new Error('AUTH_INVALID: the token is not valid here')).text, /does not accept this token/);
    assert.match(page.ofConnectError(new Error('websocket error')).text, /cannot be reached/);
  });

  test('each thing that can be wrong with a microphone has words and advice', () => {
    const words = ['NotAllowedError', 'NotFoundError', 'NotReadableError', 'SecurityError', 'other'].map((name) => page.ofMicrophone(new DOMException('', name)));
    assert.equal(new Set(words.map(({ text }) => text)).size, words.length);
    assert.ok(words.every(({ advice }) => advice.length > 10));
  });

  test('each way that a call can end has words', () => {
    const source = readFileSync(path.join(REPO, 'src/call/event.rs'), 'utf8');
    const reasons = [...source.matchAll(/EndReason::\w+ => "([a-z-]+)"/g)].map(([, reason]) => reason);
    assert.ok(reasons.length >= 12, `${reasons.length} reasons found`);
    for (const reason of reasons) assert.notEqual(page.ofEndedCall({ endedBy: 'remote', reason }), 'Ended', reason);
  });
});

describe('calls', () => {
  const incoming = { name: 'call:incoming', payload: { callId: 'a', phoneNumber: '1', callerName: null, autoAnswer: false } };

  test('an event of an unknown call changes nothing, and the same incoming call is one', () => {
    assert.deepEqual(page.after([], { name: 'call:muted', payload: { callId: 'b', muted: true } }), []);
    const once = page.after([], incoming);
    assert.equal(page.after(once, incoming), once);
  });

  test('a call that rings comes before the one talked on, and that before one on hold', () => {
    const call = (id, changes) => ({ ...page.dialled(id, id), ...changes });
    const held = call('held', { state: 'answered', held: true });
    const talking = call('talking', { state: 'answered' });
    const ringing = call('ringing', { state: 'incoming' });
    assert.deepEqual(page.byWeight([held, talking, ringing]).map(({ id }) => id), ['ringing', 'talking', 'held']);
    assert.equal(page.talking([held, talking]), talking);
    assert.equal(page.talking([held, ringing]), undefined);
  });

  test('clocks show hours only when there are some', () => {
    assert.deepEqual([7_999, 754_000, 3_723_000].map(page.timeWords), ['0:07', '12:34', '1:02:03']);
  });
});

describe('quality', () => {
  const stream = (packets, lost, jitterMs = 2) => ({ packets, lost, jitterMs });
  const leg = (leg, changes) => ({ leg, received: stream(100, 0), sent: stream(100, 0), rttMs: 20, mos: 4.4, ...changes });

  test('is unknown without figures, and good on a clean path', () => {
    const watch = new page.QualityWatch();
    assert.equal(watch.quality.grade, 'unknown');
    watch.count([leg('webrtc'), leg('sip')]);
    assert.deepEqual(watch.quality, { grade: 'good', mos: 4.4, jitterMs: 2, rttMs: 20, faults: [] });
  });

  test('counts what was lost since the answer before, and says on which side', () => {
    const watch = new page.QualityWatch();
    watch.count([leg('webrtc', { received: stream(1000, 500) }), leg('sip')]);
    assert.equal(watch.quality.grade, 'good', 'an old loss is over');
    watch.count([leg('webrtc', { received: stream(1090, 510) }), leg('sip')]);
    assert.deepEqual([watch.quality.grade, watch.quality.lossPct, watch.quality.faults], ['fair', 10, ['Your network: packets are lost']]);
  });

  test('follows the reports and warnings of the gateway as soon as there are any', () => {
    const watch = new page.QualityWatch();
    assert.ok(!watch.isReported(1_000_000));
    watch.report({ leg: 'sip', mos: 2.4, lossPct: 0, jitterMs: 1, rttMs: null }, 1_000_000);
    assert.ok(watch.isReported(1_005_000));
    assert.equal(watch.quality.grade, 'poor');
    watch.report({ leg: 'sip', mos: 4.3, lossPct: 0, jitterMs: 1, rttMs: null }, 1_005_000);
    watch.warn({ leg: 'webrtc', name: 'no-audio-in' }, true);
    assert.deepEqual([watch.quality.grade, watch.quality.faults], ['poor', ['Your network: no sound arrives']]);
    watch.warn({ leg: 'webrtc', name: 'no-audio-in' }, false);
    assert.equal(watch.quality.grade, 'good');
  });
});
