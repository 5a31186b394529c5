// The part of the gateway's wire contract that this page uses.

import type { types } from 'mediasoup-client';

/** What the page gives when it connects: who the agent is. */
export interface Identity {
  agentId: string;
  tenantId: string;
  token: string;
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

/** A refusal, as every acknowledgement and the `error` event carry it. */
export interface Failure {
  success: false;
  error: string;
  code: string;
  retryable?: boolean;
  sipCode?: number;
}

export type Ack<T> = ({ success: true } & T) | Failure;

/** What may be asked: event name to payload and successful answer. */
export interface Requests {
  'webrtc:get-router-capabilities': [Record<string, never>, { capabilities: types.RtpCapabilities }];
  'webrtc:create-transport': [{ direction: 'send' | 'recv' }, types.TransportOptions];
  'webrtc:connect-transport': [{ transportId: string; dtlsParameters: types.DtlsParameters }, object];
  'webrtc:produce': [{ transportId: string; kind: string; rtpParameters: types.RtpParameters }, { producerId: string }];
  'webrtc:close-producer': [{ producerId: string }, object];
  'webrtc:close-transport': [{ transportId: string }, object];
  'webrtc:consume': [
    { transportId: string; producerId: string; rtpCapabilities: types.RtpCapabilities },
    { id: string; producerId: string; kind: types.MediaKind; rtpParameters: types.RtpParameters },
  ];
  'call:dial': [{ phoneNumber: string; clientCallId: string }, { callId: string }];
  'call:answer': [{ callId: string }, object];
  'call:reject': [{ callId: string }, object];
  'call:hangup': [{ callId: string }, object];
  'call:hold': [{ callId: string }, object];
  'call:unhold': [{ callId: string }, object];
  'call:mute': [{ callId: string; muted: boolean }, object];
  'call:dtmf': [{ callId: string; tone: string }, object];
}

/** What the gateway tells, event name to payload; each carries `eventId` too. */
export interface ServerEvents {
  'call:incoming': { callId: string; phoneNumber: string; callerName?: string; autoAnswer: boolean };
  'call:ringing': { callId: string; earlyMedia: boolean };
  'call:answered': { callId: string; codec: string; answeredAt: string };
  'call:held': { callId: string; held: boolean; by: 'local' | 'remote' };
  'call:muted': { callId: string; muted: boolean };
  'call:dtmf-received': { callId: string; tone: string };
  'call:transferred': { callId: string; target: string };
  'call:ended': { callId: string; duration: number; endedBy: string; reason: string; sipCode?: number };
  'call:failed': { callId: string; error: string; code: string; sipCode?: number; sipReason?: string };
}
