// What the agent does with calls.

import { dialled, isAnswered, type Call } from './calls';
import { Refused, type Gateway } from './gateway';
import type { Controls } from './keyboard';
import type { Line } from './line';
import { keyTone } from './sound';
import { announce, calls, dismiss, microphone, notify, number, panel } from './state';
import { ofError } from './words';

/** Two clicks within this time are one: nobody dials the same number twice on purpose so soon. */
const SAME_INTENT_MS = 1_500;

export class CallActions implements Controls {
  private intent: { phoneNumber: string; clientCallId: string; at: number; callId?: string } | undefined;

  constructor(
    private readonly ask: Gateway['ask'],
    private readonly line: Line,
  ) {}

  dial(text: string): void {
    const phoneNumber = text.trim();
    if (!phoneNumber) return notify({ topic: 'call', kind: 'info', text: 'Enter a number first.' });
    if (microphone.value === 'unusable') return this.line.retry();
    const intent = this.intendedAgain(phoneNumber) ?? { phoneNumber, clientCallId: crypto.randomUUID(), at: Date.now() };
    const isFirst = intent !== this.intent;
    this.intent = intent;
    dismiss('call');
    // The gateway takes two requests of one id for one call, whatever becomes of the first answer.
    this.ask('call:dial', { phoneNumber, clientCallId: intent.clientCallId }).then(({ callId }) => {
      intent.callId = callId;
      if (number.value.trim() === phoneNumber) number.value = '';
      if (isFirst) calls.value = [...calls.value, dialled(callId, phoneNumber)];
    }, failed);
  }

  /** What this click only repeats; a call that is over already is called again on purpose. */
  private intendedAgain(phoneNumber: string): CallActions['intent'] {
    const { intent } = this;
    if (intent?.phoneNumber !== phoneNumber || Date.now() - intent.at > SAME_INTENT_MS) return undefined;
    return intent.callId === undefined || calls.value.some(({ id }) => id === intent.callId) ? intent : undefined;
  }

  answer({ id }: Call): void {
    dismiss('call');
    this.ask('call:answer', { callId: id }).catch(failed);
  }

  /** Hangs up, cancels or declines: whatever ends the call now. */
  end({ id, state }: Call): void {
    dismiss('call');
    this.ask(state === 'incoming' ? 'call:reject' : 'call:hangup', { callId: id }).catch(failed);
  }

  /** Holds, or resumes; resuming one holds the other by itself. */
  hold({ id, held }: Call): void {
    this.ask(held ? 'call:unhold' : 'call:hold', { callId: id }).catch(failed);
  }

  /** At once, and told to the gateway: nobody shall be heard because a network is slow or gone. */
  mute({ id, muted }: Call): void {
    this.setMuted(id, !muted);
    this.ask('call:mute', { callId: id, muted: !muted }).catch((error: unknown) => {
      // Told as soon as there is a connection again.
      if (error instanceof Refused && error.code === 'NOT_CONNECTED') return announce(muted ? 'You are no longer muted' : 'You are muted');
      this.setMuted(id, muted);
      failed(error);
    });
  }

  key({ id }: Call, key: string): void {
    keyTone(key);
    this.ask('call:dtmf', { callId: id, tone: key }).then(() => {
      calls.value = calls.value.map((call) => (call.id === id ? { ...call, digitsSent: call.digitsSent + key } : call));
    }, failed);
  }

  transfer({ id }: Call, to: string): void {
    const target = to.trim();
    if (!target) return notify({ topic: 'call', kind: 'info', text: 'Enter where to transfer the call first.' });
    dismiss('call');
    this.setTransferring(id, target);
    this.ask('call:transfer', { callId: id, target, transferType: 'blind' }).then(
      () => (panel.value = undefined),
      (error: unknown) => {
        this.setTransferring(id, undefined);
        failed(error);
      },
    );
  }

  private setMuted(id: string, muted: boolean): void {
    calls.value = calls.value.map((call) => (call.id === id ? { ...call, muted } : call));
    if (calls.value.some((call) => call.id === id && isAnswered(call) && !call.held)) this.line.mute(muted);
  }

  private setTransferring(id: string, target: string | undefined): void {
    calls.value = calls.value.map((call) => {
      const { transferringTo: _before, ...rest } = call;
      return call.id !== id ? call : target === undefined ? rest : { ...rest, transferringTo: target };
    });
  }
}

function failed(error: unknown): void {
  notify({ topic: 'call', kind: 'error', ...ofError(error) });
}
