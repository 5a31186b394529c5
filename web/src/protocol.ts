// The part of the gateway's wire contract that this page uses.

import type { types } from 'mediasoup-client';

/** What the page gives when it connects: who the agent is. */
export interface Identity {
  agentId: string;
  tenantId: string;
  token: string;
}

/** `GET /`: what has to be known before anybody signs in. */
export interface Service {
  version: string;
  /** `dev`: whoever asks may sign in without a token. */
  signIn: 'dev' | 'token';
  /** There where the built-in demo PBX answers. */
  demoNumbers?: { number: string; what: string }[];
}

/** Where a call stands. */
export type CallState = 'dialing' | 'ringing' | 'early' | 'incoming' | 'answered' | 'held' | 'ended' | 'failed';

/** A call as `connected` lists it. */
export interface CallView {
  callId: string;
  direction: 'outbound' | 'inbound';
  state: CallState;
  phoneNumber: string;
  callerName?: string;
  muted: boolean;
  held: boolean;
  startedAt: string;
  answeredAt?: string;
}

/** `connected`: the session is up. */
export interface Connected {
  agentId: string;
  tenantId: string;
  serverTime: string;
  resumed: boolean;
  eventId: number;
  resumeToken: string;
  producerId: string;
  calls: CallView[];
  limits: { maxCalls: number };
}

/** Every stable code of the contract. */
export type Code =
  | 'BAD_REQUEST'
  | 'UNAUTHORIZED'
  | 'FORBIDDEN'
  | 'NOT_FOUND'
  | 'CONFLICT'
  | 'RATE_LIMITED'
  | 'OVERLOADED'
  | 'DRAINING'
  | 'INTERNAL'
  | 'AUTH_REQUIRED'
  | 'AUTH_INVALID'
  | 'AUTH_EXPIRED'
  | 'AUTH_MISMATCH'
  | 'TENANT_UNKNOWN'
  | 'SESSION_TAKEN_OVER'
  | 'TRANSPORT_NOT_FOUND'
  | 'PRODUCER_NOT_FOUND'
  | 'CONSUMER_NOT_FOUND'
  | 'CALL_NOT_FOUND'
  | 'UNSUPPORTED_KIND'
  | 'UNSUPPORTED_CODEC'
  | 'MEDIA_NOT_READY'
  | 'INVALID_NUMBER'
  | 'DESTINATION_BLOCKED'
  | 'CALL_LIMIT'
  | 'INVALID_STATE'
  | 'SIP_TIMEOUT'
  | 'SIP_REJECTED'
  | 'SIP_UNREACHABLE';

/** A refusal, as every acknowledgement carries it. A newer gateway may know more codes. */
export interface Failure {
  success: false;
  error: string;
  code: string;
  sipCode?: number;
}

export type Ack<T> = ({ success: true } & T) | Failure;

/** One leg's media figures; a value that is not known yet is null. */
export interface Leg {
  leg: 'webrtc' | 'sip';
  received: Stream;
  sent: Stream;
  rttMs: number | null;
  mos: number | null;
}

export interface Stream {
  packets: number;
  lost: number;
  jitterMs: number | null;
}

interface Transport {
  transportId: string;
}

interface Called {
  callId: string;
}

/** What may be asked: event name to payload and successful answer. */
export interface Requests {
  'auth:refresh': [{ token: string }, object];
  'webrtc:get-router-capabilities': [Record<string, never>, { capabilities: types.RtpCapabilities }];
  'webrtc:create-transport': [{ direction: 'send' | 'recv' }, types.TransportOptions];
  'webrtc:connect-transport': [Transport & { dtlsParameters: types.DtlsParameters }, object];
  'webrtc:close-transport': [Transport, object];
  'webrtc:produce': [Transport & { kind: string; rtpParameters: types.RtpParameters }, { producerId: string }];
  'webrtc:close-producer': [{ producerId: string }, object];
  'webrtc:consume': [
    Transport & { producerId: string; rtpCapabilities: types.RtpCapabilities },
    { id: string; producerId: string; kind: types.MediaKind; rtpParameters: types.RtpParameters },
  ];
  'webrtc:get-stats': [Called, { stats: Leg[] }];
  'call:dial': [{ phoneNumber: string; clientCallId: string }, Called];
  'call:answer': [Called, object];
  'call:reject': [Called, object];
  'call:hangup': [Called, object];
  'call:hold': [Called, object];
  'call:unhold': [Called, object];
  'call:mute': [Called & { muted: boolean }, object];
  'call:dtmf': [Called & { tone: string }, object];
  'call:transfer': [Called & { target: string; transferType: 'blind' }, object];
}

/** What the gateway tells of a call, event name to payload; each carries `eventId` too. */
export interface CallEvents {
  'call:incoming': Called & { phoneNumber: string; callerName: string | null; autoAnswer: boolean };
  'call:ringing': Called & { earlyMedia: boolean };
  'call:answered': Called & { codec: string };
  'call:held': Called & { held: boolean; by: 'local' | 'remote' };
  'call:muted': Called & { muted: boolean };
  'call:dtmf-received': Called & { tone: string };
  'call:transferred': Called & { target: string };
  'call:transfer-failed': Called & { sipCode?: number };
  'call:ended': Called & { duration: number; endedBy: 'agent' | 'remote' | 'gateway' | 'admin'; reason: string; sipCode?: number };
  'call:failed': Called & { error: string; code: string; sipCode?: number };
}

export type CallEvent = { [E in keyof CallEvents]: { name: E; payload: CallEvents[E] } }[keyof CallEvents];

/** What is wrong with a call's sound, as the gateway names it. */
export type WarningName = 'high-rtt' | 'high-jitter' | 'high-packet-loss' | 'low-mos' | 'no-audio-in' | 'no-audio-out' | 'one-way-audio';

export interface QualityReport extends Called {
  leg: Leg['leg'];
  mos: number | null;
  lossPct: number | null;
  jitterMs: number | null;
  rttMs: number | null;
}

export interface QualityWarning extends Called {
  leg: Leg['leg'];
  name: WarningName;
}
