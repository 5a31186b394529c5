// Codes of the gateway and the browser, said so that an agent knows what happened and what to do.

import { Refused } from './gateway';
import type { ServerEvents } from './protocol';

const BY_CODE: Record<string, string> = {
  AUTH_REQUIRED: 'Sign in with a token: this gateway lets nobody in without one.',
  AUTH_INVALID: 'The gateway does not accept this token. Ask for a new one.',
  AUTH_EXPIRED: 'Your token has expired. Sign in with a new one.',
  AUTH_MISMATCH: 'The token belongs to another agent or tenant than the ones entered.',
  TENANT_UNKNOWN: 'The gateway does not know this tenant.',
  SESSION_TAKEN_OVER: 'You signed in somewhere else, so this page was disconnected.',
  RATE_LIMITED: 'Too many requests. Wait a moment and try again.',
  OVERLOADED: 'The gateway is full at the moment. Try again in a minute.',
  DRAINING: 'The gateway is about to restart and takes no new calls. Try again in a minute.',
  UNSUPPORTED_CODEC: 'The other side supports none of our codecs. Choose another codec and try again.',
  MEDIA_NOT_READY: 'The microphone was not connected to the gateway in time. Check your network, then try again.',
  INVALID_NUMBER: 'This is not a number that can be dialled.',
  DESTINATION_BLOCKED: 'Calls to this number are not allowed.',
  CALL_LIMIT: 'You already have as many calls as you may. Hang one up first.',
  CALL_NOT_FOUND: 'This call has already ended.',
  INVALID_STATE: 'That is not possible at this point of the call.',
  SIP_TIMEOUT: 'Nobody answered.',
  SIP_UNREACHABLE: 'The telephone system cannot be reached. Tell your supervisor if this lasts.',
  INTERNAL: 'The gateway made a mistake. Try again, and tell your supervisor if it happens again.',
};

const BY_SIP_CODE: Record<number, string> = {
  403: 'The telephone system refused this call.',
  404: 'This number does not exist.',
  408: 'Nobody answered.',
  410: 'This number is no longer in use.',
  480: 'The other side cannot be reached at the moment.',
  484: 'This number is incomplete.',
  486: 'This number is busy.',
  487: 'The call was cancelled.',
  488: 'The other side supports none of our codecs. Choose another codec and try again.',
  503: 'The telephone system is overloaded. Try again in a minute.',
  600: 'This number is busy.',
  603: 'The other side declined the call.',
  604: 'This number does not exist.',
};

const BY_END: Record<string, string> = {
  'agent:hangup': 'You hung up',
  'remote:hangup': 'The other side hung up',
  cancelled: 'Cancelled',
  rejected: 'You rejected it',
  'no-answer': 'Missed',
  transferred: 'Transferred',
  'agent-lost': 'Your connection was lost',
  'media-timeout': 'The line went silent',
  'session-timeout': 'The telephone system stopped responding',
  terminated: 'Ended by a supervisor',
  drained: 'Ended by a restart of the gateway',
  'gateway-restart': 'Ended by a restart of the gateway',
  internal: 'Ended by a fault of the gateway',
};

/** Why a call did not come about. */
export function ofFailedCall(failed: ServerEvents['call:failed']): string {
  return (failed.sipCode && BY_SIP_CODE[failed.sipCode]) || BY_CODE[failed.code] || failed.error;
}

/** How a call ended. */
export function ofEndedCall(ended: ServerEvents['call:ended']): string {
  return BY_END[`${ended.endedBy}:${ended.reason}`] ?? BY_END[ended.reason] ?? 'Ended';
}

/** A `connect_error`: its message is `CODE: human text`, or the transport's own. */
export function ofConnectError(error: Error): string {
  const [code = '', text] = error.message.split(': ', 2);
  return BY_CODE[code] ?? (text || 'The gateway cannot be reached. Trying again.');
}

/** Anything that was thrown at us: a refusal, the microphone's, or a fault. */
export function ofError(error: unknown): string {
  if (error instanceof Refused) return (error.sipCode && BY_SIP_CODE[error.sipCode]) || BY_CODE[error.code] || error.message;
  if (error instanceof DOMException) {
    switch (error.name) {
      case 'NotAllowedError':
        return 'This page may not use your microphone. Allow it in the address bar, then sign in again.';
      case 'NotFoundError':
        return 'No microphone was found. Connect one, then sign in again.';
      case 'NotReadableError':
        return 'Your microphone is in use by another program.';
    }
  }
  return error instanceof Error ? error.message : String(error);
}
