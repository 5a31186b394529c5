// The signalling: one Socket.IO connection, requests as promises, events with their types.

import { io, type Socket } from 'socket.io-client';
import type { Ack, CallEvent, CallEvents, Connected, Identity, QualityReport, QualityWarning, Requests } from './protocol';

/** The gateway said no, or nothing (`NO_ANSWER`), or cannot be asked (`NOT_CONNECTED`). */
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
  expiring(inMs: number): void;
  call(event: CallEvent): void;
  quality(report: QualityReport): void;
  warning(warning: QualityWarning, raised: boolean): void;
}

const CALL_EVENTS: (keyof CallEvents)[] = [
  'call:incoming',
  'call:ringing',
  'call:answered',
  'call:held',
  'call:muted',
  'call:dtmf-received',
  'call:transferred',
  'call:transfer-failed',
  'call:ended',
  'call:failed',
];

/** No answer within this time is a failure: the gateway acknowledges everything at once or within a SIP transaction. */
const ACK_TIMEOUT_MS = 40_000;

export class Gateway {
  private readonly socket: Socket;
  private resume: { token: string; lastEventId: number } | undefined;

  constructor(identity: Identity, listener: GatewayListener) {
    this.socket = io({
      auth: (give) => give({ ...credentials(identity), resume: this.resume }),
      // Straight to the transport that lasts; polling for networks that let no WebSocket through.
      transports: ['websocket', 'polling'],
      tryAllTransports: true,
      reconnectionDelay: 500,
      reconnectionDelayMax: 5_000,
    });
    this.socket.on('connected', (welcome: Connected) => {
      // With `resumed` the missed events still follow: those move the number on as they come.
      if (!welcome.resumed || !this.resume) this.resume = { token: welcome.resumeToken, lastEventId: welcome.eventId };
      else this.resume.token = welcome.resumeToken;
      listener.connected(welcome);
    });
    this.socket.on('connect_error', (error) => listener.refused(error, !this.socket.active));
    this.socket.on('disconnect', () => listener.disconnected(!this.socket.active));
    this.socket.on('error', (failure: { code: string; message: string }) => listener.error(failure.code, failure.message));
    this.socket.on('auth:expiring', ({ expiresInMs }: { expiresInMs: number }) => listener.expiring(expiresInMs));
    this.socket.on('webrtc:quality', (report: QualityReport) => listener.quality(report));
    this.socket.on('webrtc:quality-warning', (warning: QualityWarning) => listener.warning(warning, true));
    this.socket.on('webrtc:quality-warning-cleared', (warning: QualityWarning) => listener.warning(warning, false));
    for (const name of CALL_EVENTS) {
      // An acknowledgement that came in the same batch is seen first: whoever awaits it goes on before this.
      this.socket.on(name, (payload) => queueMicrotask(() => listener.call({ name, payload } as CallEvent)));
    }
    this.socket.onAny((_name, payload?: { eventId?: number }) => {
      if (this.resume && typeof payload?.eventId === 'number') this.resume.lastEventId = Math.max(this.resume.lastEventId, payload.eventId);
    });
  }

  get isConnected(): boolean {
    return this.socket.connected;
  }

  /** Asks, and gives the successful answer; throws `Refused` for every other. Nothing is kept for later: a call dialled then would surprise. */
  ask<R extends keyof Requests>(name: R, payload: Requests[R][0]): Promise<Requests[R][1]> {
    return new Promise((resolve, reject) => {
      if (!this.socket.connected) return reject(new Refused('There is no connection to the gateway.', 'NOT_CONNECTED'));
      this.socket.timeout(ACK_TIMEOUT_MS).emit(name, payload, (error: Error | null, answer: Ack<Requests[R][1]>) => {
        if (error) reject(new Refused('The gateway did not answer.', 'NO_ANSWER'));
        else if (answer.success) resolve(answer);
        else reject(new Refused(answer.error, answer.code, answer.sipCode));
      });
    });
  }

  close(): void {
    this.socket.disconnect();
  }
}

/** A JWT says who the agent is; where dev tokens are taken any other word is one and the ids say it. */
function credentials({ agentId, tenantId, token }: Identity): object {
  const isJwt = token.split('.').length === 3;
  return isJwt ? { token } : { token: token || 'dev', agentId, tenantId, userId: agentId };
}
