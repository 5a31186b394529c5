// From a sign-in to the sign-out: what the gateway tells becomes state, and the sound is kept up.

import { CallActions } from './actions';
import { after, fromView, isAnswered, timeWords, who, type Call } from './calls';
import { Gateway, type GatewayListener } from './gateway';
import { remember } from './history';
import { forgetIdentity, keepIdentity } from './identity';
import { Line } from './line';
import type { CallEvent, Connected, Identity, QualityReport, QualityWarning } from './protocol';
import { QualityWatch } from './quality';
import { agent, announce, calls, dismiss, maxCalls, notify, panel, quality, server, signInTrouble, stage, talkingCall, tokenWanted } from './state';
import { codeOf, ofCode, ofConnectError, ofEndedCall, ofFailedCall, type Words } from './words';

/** How often a call's figures are asked for, as long as the gateway does not tell them by itself. */
const QUALITY_INTERVAL_MS = 2_000;

export class Session implements GatewayListener {
  readonly line = new Line((name, payload) => this.gateway.ask(name, payload));
  readonly actions = new CallActions((name, payload) => this.gateway.ask(name, payload), this.line);
  private gateway: Gateway;
  private readonly watches = new Map<string, QualityWatch>();
  private readonly polling = window.setInterval(() => void this.askQuality(), QUALITY_INTERVAL_MS);
  /** The gateway has let us in once, so there may be calls to keep. */
  private welcomed = false;

  constructor(public identity: Identity) {
    stage.value = 'connecting';
    server.value = 'connecting';
    signInTrouble.value = undefined;
    this.gateway = new Gateway(identity, this);
  }

  /** A newer token for what is going on, or a new connection where the old token has ended it. */
  async renew(token: string): Promise<void> {
    const identity = { ...this.identity, token };
    if (this.gateway.isConnected) await this.gateway.ask('auth:refresh', { token });
    this.identity = identity;
    if (!this.gateway.isConnected) this.reconnect();
    else keepIdentity(identity);
    tokenWanted.value = false;
    dismiss('token');
  }

  reconnect(): void {
    this.gateway.close();
    dismiss('server');
    server.value = 'connecting';
    this.gateway = new Gateway(this.identity, this);
  }

  /** Lets go of everything. Calls that are going on end at the gateway, once it misses us. */
  end(): void {
    window.clearInterval(this.polling);
    this.gateway.close();
    this.line.end();
    calls.value = [];
    server.value = 'off';
    tokenWanted.value = false;
    for (const topic of ['server', 'token', 'call', 'microphone', 'sound'] as const) dismiss(topic);
  }

  // --- what the gateway tells

  connected(welcome: Connected): void {
    this.welcomed = true;
    server.value = 'connected';
    stage.value = 'signed-in';
    agent.value = { agentId: welcome.agentId, tenantId: welcome.tenantId };
    maxCalls.value = welcome.limits.maxCalls;
    keepIdentity(this.identity);
    dismiss('server');
    if (!welcome.resumed) this.listCalls(welcome);
    this.line.keepUp(welcome.producerId);
  }

  disconnected(final: boolean): void {
    if (stage.value === 'taken-over') return;
    server.value = final ? 'off' : 'lost';
    // Nobody measures any more, and old figures would be taken for new ones.
    quality.value = new Map();
    if (!final) return this.tellLost({ text: 'The connection to the gateway is lost.', advice: 'This page keeps trying.' });
    const action = { label: 'Connect again', run: () => this.reconnect() };
    if (!tokenWanted.value) notify({ topic: 'server', kind: 'error', text: 'The gateway has ended the connection.', action });
  }

  refused(error: Error, final: boolean): void {
    const words = ofConnectError(error);
    if (!final) {
      server.value = this.welcomed ? 'lost' : 'connecting';
      return this.tellLost(words);
    }
    server.value = 'off';
    if (this.welcomed && codeOf(error)?.startsWith('AUTH_')) return this.wantToken(words);
    this.end();
    forgetIdentity();
    signInTrouble.value = words;
    stage.value = 'signed-out';
  }

  error(code: string, message: string): void {
    const words = ofCode(code, message);
    if (code === 'SESSION_TAKEN_OVER') {
      stage.value = 'taken-over';
      this.end();
    } else if (code === 'AUTH_EXPIRED') this.wantToken(words);
    else notify({ topic: 'call', kind: 'error', ...words });
  }

  expiring(inMs: number): void {
    const text = `Your sign-in ends in ${Math.round(inMs / 1000)} seconds.`;
    notify({ topic: 'token', kind: 'warning', text, advice: 'Your calls stay.', action: { label: 'Enter a new token', run: () => (tokenWanted.value = true) } });
  }

  call(event: CallEvent): void {
    const { callId } = event.payload;
    const before = calls.value.find(({ id }) => id === callId);
    calls.value = after(calls.value, event);
    const call = calls.value.find(({ id }) => id === callId) ?? before;
    if (call) this.tellCall(event, call);
    if (before && call && before !== call) this.line.mute(talkingCall.value?.muted ?? false);
    if (!talkingCall.value) panel.value = undefined;
  }

  quality(report: QualityReport): void {
    this.watch(report.callId).report(report, Date.now());
    this.showQuality(report.callId);
  }

  warning(warning: QualityWarning, raised: boolean): void {
    this.watch(warning.callId).warn(warning, raised);
    this.showQuality(warning.callId);
  }

  // --- inside

  private tellCall({ name, payload }: CallEvent, call: Call): void {
    switch (name) {
      case 'call:incoming':
        return announce(`Incoming call from ${who(call)}`);
      case 'call:ringing':
        return announce(`${who(call)}: ringing`);
      case 'call:answered':
        return announce(`Connected with ${who(call)}`);
      case 'call:held':
        return announce(`${who(call)}: ${payload.held ? 'on hold' : 'no longer on hold'}${payload.by === 'remote' ? ' by the other side' : ''}`);
      case 'call:muted':
        return announce(payload.muted ? 'You are muted' : 'You are no longer muted');
      case 'call:dtmf-received':
      case 'call:transferred':
        return;
      case 'call:transfer-failed': {
        const why = payload.sipCode === undefined ? undefined : ofCode('SIP_REJECTED', '', payload.sipCode).text;
        const text = `The transfer did not work.${why ? ` ${why}` : ''}`;
        return notify({ topic: 'call', kind: 'error', text, advice: `You are still connected with ${who(call)}.` });
      }
      case 'call:ended': {
        const transferred = payload.reason === 'transferred' && call.transferringTo;
        const outcome = transferred ? `Transferred to ${transferred}` : ofEndedCall(payload);
        this.forget(call.id);
        remember(call, outcome, call.answeredAt === undefined && call.inbound && payload.endedBy !== 'agent');
        return announce(`${who(call)}: ${outcome}${call.answeredAt === undefined ? '' : `, after ${timeWords(Date.now() - call.answeredAt)}`}`);
      }
      case 'call:failed': {
        const words = ofFailedCall(payload);
        this.forget(call.id);
        remember(call, words.text.replace(/\.$/, ''), true);
        const action = { label: 'Call again', run: () => this.actions.dial(call.number) };
        return notify({ topic: 'call', kind: 'error', ...words, text: `${who(call)}: ${words.text}`, action });
      }
    }
  }

  /** The gateway's list is the truth; what was muted here while nobody could be told is told now. */
  private listCalls(welcome: Connected): void {
    const clockOffsetMs = Date.parse(welcome.serverTime) - Date.now();
    const known = new Map(calls.value.map((call) => [call.id, call]));
    calls.value = welcome.calls.map((view) => fromView(view, clockOffsetMs, known.get(view.callId)));
    for (const call of calls.value) {
      const before = known.get(call.id);
      known.delete(call.id);
      if (before && before.muted !== call.muted) this.actions.mute(call);
    }
    for (const gone of known.values()) {
      this.forget(gone.id);
      remember(gone, 'Ended while the connection was lost', !isAnswered(gone));
      notify({ topic: 'call', kind: 'info', text: `The call with ${who(gone)} ended while the connection was lost.` });
    }
    this.line.mute(talkingCall.value?.muted ?? false);
  }

  private tellLost(words: Words): void {
    if (!this.welcomed) return notify({ topic: 'server', kind: 'error', ...words });
    const continues = calls.value.some(isAnswered);
    const text = continues ? 'Connection lost. Your call continues.' : words.text;
    const advice = continues ? 'You can talk and mute. The other buttons work again once the page has reconnected.' : words.advice;
    notify({ topic: 'server', kind: 'warning', text, ...(advice && { advice }) });
  }

  private wantToken(words: Words): void {
    dismiss('server');
    notify({ topic: 'token', kind: 'error', ...words, action: { label: 'Enter a new token', run: () => (tokenWanted.value = true) } });
    tokenWanted.value = true;
  }

  private watch(callId: string): QualityWatch {
    let watch = this.watches.get(callId);
    if (!watch) this.watches.set(callId, (watch = new QualityWatch()));
    return watch;
  }

  private async askQuality(): Promise<void> {
    const call = talkingCall.value;
    if (!call || !this.gateway.isConnected || this.watch(call.id).isReported(Date.now())) return;
    try {
      const { stats } = await this.gateway.ask('webrtc:get-stats', { callId: call.id });
      if (!calls.value.some(({ id }) => id === call.id)) return;
      this.watch(call.id).count(stats);
      this.showQuality(call.id);
    } catch {
      // The call or the connection has just ended, and that is told elsewhere.
    }
  }

  private showQuality(callId: string): void {
    quality.value = new Map(quality.value).set(callId, this.watch(callId).quality);
  }

  private forget(callId: string): void {
    this.watches.delete(callId);
    const left = new Map(quality.value);
    left.delete(callId);
    quality.value = left;
  }
}
