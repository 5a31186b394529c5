// The signalling: one Socket.IO connection, requests as promises, events with their types.

import { io, type Socket } from 'socket.io-client';
import type { Ack, Connected, Identity, Requests, ServerEvents } from './protocol';

/** The gateway said no. */
export class Refused extends Error {
  constructor(
    message: string,
    readonly code: string,
    readonly sipCode?: number,
  ) {
    super(message);
  }
}

export interface GatewayListener {
  connected(welcome: Connected): void;
  /** `final` when the client does not try again by itself. */
  disconnected(final: boolean): void;
  refused(error: Error, final: boolean): void;
  /** A failure that belongs to no acknowledgement. */
  error(code: string, message: string): void;
  event<E extends keyof ServerEvents>(name: E, payload: ServerEvents[E]): void;
}

const EVENTS: (keyof ServerEvents)[] = [
  'call:incoming',
  'call:ringing',
  'call:answered',
  'call:held',
  'call:muted',
  'call:dtmf-received',
  'call:transferred',
  'call:ended',
  'call:failed',
];

/** No answer within this time is a failure: the gateway acknowledges everything at once or within a SIP transaction. */
const ACK_TIMEOUT_MS = 40_000;

export class Gateway {
  private readonly socket: Socket;
  private resume: { token: string; lastEventId: number } | undefined;

  constructor(identity: Identity, listener: GatewayListener) {
    this.socket = io({ auth: (give) => give({ ...credentials(identity), resume: this.resume }), reconnectionDelayMax: 5_000 });
    this.socket.on('connected', (welcome: Connected) => {
      // With `resumed` the missed events still follow: those move the number on as they come.
      if (!welcome.resumed || !this.resume) this.resume = { token: welcome.resumeToken, lastEventId: welcome.eventId };
      else this.resume.token = welcome.resumeToken;
      listener.connected(welcome);
    });
    this.socket.on('connect_error', (error) => listener.refused(error, !this.socket.active));
    this.socket.on('disconnect', () => listener.disconnected(!this.socket.active));
    this.socket.on('error', (failure: { code: string; message: string }) => listener.error(failure.code, failure.message));
    for (const name of EVENTS) this.socket.on(name, (payload) => listener.event(name, payload));
    this.socket.onAny((_name, payload) => {
      if (this.resume && typeof payload?.eventId === 'number') this.resume.lastEventId = Math.max(this.resume.lastEventId, payload.eventId);
    });
  }

  /** Asks, and gives the successful answer; throws `Refused` for every other. */
  async ask<R extends keyof Requests>(name: R, payload: Requests[R][0]): Promise<Requests[R][1]> {
    let answer: Ack<Requests[R][1]>;
    try {
      answer = await this.socket.timeout(ACK_TIMEOUT_MS).emitWithAck(name, payload);
    } catch {
      throw new Refused('The gateway did not answer. Check your network.', 'NO_ANSWER');
    }
    if (!answer.success) throw new Refused(answer.error, answer.code, answer.sipCode);
    return answer;
  }

  close(): void {
    this.socket.disconnect();
  }
}

/** A JWT says who the agent is; on a development machine any other word is a token and the ids say it. */
function credentials({ agentId, tenantId, token }: Identity): object {
  const isJwt = token.split('.').length === 3;
  return isJwt ? { token } : { token: token || 'dev', agentId, tenantId, userId: agentId };
}
