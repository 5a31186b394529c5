// Codes of the gateway and the browser, said so that an agent knows what happened and what to do.

import { Refused } from './gateway';
import type { CallEvents, Code, WarningName } from './protocol';

/** What happened, and what to do about it where the agent can do something. */
export interface Words {
  text: string;
  advice?: string;
}

const SUPERVISOR = 'Tell your supervisor if it happens again.';

const BY_CODE: Record<Code, Words> = {
  BAD_REQUEST: { text: 'The gateway did not understand this page.', advice: `Reload the page. ${SUPERVISOR}` },
  UNAUTHORIZED: { text: 'You are not signed in.', advice: 'Sign in again.' },
  FORBIDDEN: { text: 'You are not allowed to do this.', advice: 'Ask your supervisor for the permission.' },
  NOT_FOUND: { text: 'The gateway does not know what was asked for.', advice: `Reload the page. ${SUPERVISOR}` },
  CONFLICT: { text: 'Something else is being done with this at the same moment.', advice: 'Try again.' },
  RATE_LIMITED: { text: 'Too many requests at once.', advice: 'Wait a moment and try again.' },
  OVERLOADED: { text: 'The gateway is full at the moment.', advice: 'Try again in a minute.' },
  DRAINING: { text: 'The gateway is about to restart and takes no new calls.', advice: 'Try again in a minute.' },
  INTERNAL: { text: 'The gateway made a mistake.', advice: `Try again. ${SUPERVISOR}` },
  AUTH_REQUIRED: { text: 'This gateway lets nobody in without a token.', advice: 'Sign in with the token that you were given.' },
  AUTH_INVALID: { text: 'The gateway does not accept this token.', advice: 'Check that you pasted all of it, or ask for a new one.' },
  AUTH_EXPIRED: { text: 'Your sign-in has expired.', advice: 'Sign in with a new token. A call that is going on continues.' },
  AUTH_MISMATCH: { text: 'This token belongs to somebody else.', advice: 'Sign in with your own token.' },
  TENANT_UNKNOWN: { text: 'Your company is not served by this gateway.', advice: 'Check the address of this page with your supervisor.' },
  SESSION_TAKEN_OVER: { text: 'You signed in somewhere else.', advice: 'Your calls are there now. Sign in here to bring them back.' },
  TRANSPORT_NOT_FOUND: { text: 'The sound connection was lost.', advice: 'Reload the page; your calls stay.' },
  PRODUCER_NOT_FOUND: { text: 'The gateway lost your microphone.', advice: 'Reload the page; your calls stay.' },
  CONSUMER_NOT_FOUND: { text: 'The gateway lost the sound to your speaker.', advice: 'Reload the page; your calls stay.' },
  CALL_NOT_FOUND: { text: 'This call has already ended.' },
  UNSUPPORTED_KIND: { text: 'Only sound can be sent.', advice: SUPERVISOR },
  UNSUPPORTED_CODEC: {
    text: 'The other side and your browser have no way of coding sound in common.',
    advice: 'Choose another codec in the audio settings and try again.',
  },
  MEDIA_NOT_READY: {
    text: 'Your sound was not connected to the gateway in time.',
    advice: 'Look at Microphone and Audio at the top of this page, then try again.',
  },
  INVALID_NUMBER: { text: 'This is not a number that can be dialled.', advice: 'Check the number: 2 to 20 digits, with + for a country code.' },
  DESTINATION_BLOCKED: { text: 'Calls to this number are not allowed.', advice: 'Ask your supervisor if you need it.' },
  CALL_LIMIT: { text: 'You already have as many calls as you may.', advice: 'Hang one up first.' },
  INVALID_STATE: { text: 'That is not possible at this point of the call.' },
  SIP_TIMEOUT: { text: 'Nobody answered.', advice: 'Try again later.' },
  SIP_REJECTED: { text: 'The telephone system refused this.', advice: SUPERVISOR },
  SIP_UNREACHABLE: { text: 'The telephone system cannot be reached.', advice: 'Try again in a minute. Tell your supervisor if it lasts.' },
};

/** Of this page itself, when there is nobody to answer. */
const BY_OWN_CODE: Record<string, Words> = {
  NO_ANSWER: { text: 'The gateway did not answer.', advice: 'Check your network, then try again.' },
  NOT_CONNECTED: { text: 'There is no connection to the gateway just now.', advice: 'A call that is going on continues. Try again once Server says connected.' },
};

const BY_SIP_CODE: Record<number, Words> = {
  403: { text: 'The telephone system refused this call.', advice: 'Ask your supervisor whether you may call this number.' },
  404: { text: 'This number does not exist.', advice: 'Check the number.' },
  408: { text: 'Nobody answered.', advice: 'Try again later.' },
  410: { text: 'This number is no longer in use.' },
  480: { text: 'The other side cannot be reached at the moment.', advice: 'Try again later.' },
  484: { text: 'This number is incomplete.', advice: 'Check the number.' },
  486: { text: 'This number is busy.', advice: 'Try again in a few minutes.' },
  487: { text: 'The call was cancelled.' },
  488: BY_CODE.UNSUPPORTED_CODEC,
  503: { text: 'The telephone system is overloaded.', advice: 'Try again in a minute.' },
  600: { text: 'This number is busy.', advice: 'Try again in a few minutes.' },
  603: { text: 'The other side declined the call.' },
  604: { text: 'This number does not exist.', advice: 'Check the number.' },
};

const BY_END: Record<string, string> = {
  'agent:hangup': 'You hung up',
  'remote:hangup': 'They hung up',
  'agent:cancelled': 'Cancelled',
  'remote:cancelled': 'Missed',
  cancelled: 'Missed',
  rejected: 'You declined it',
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

/** What is wrong with a call's sound; said of one side of the gateway. */
export const WARNINGS: Record<WarningName, string> = {
  'high-rtt': 'long delay',
  'high-jitter': 'uneven delivery',
  'high-packet-loss': 'packets are lost',
  'low-mos': 'hard to understand',
  'no-audio-in': 'no sound arrives',
  'no-audio-out': 'no sound is sent',
  'one-way-audio': 'sound goes only one way',
};

/** Why a call did not come about. */
export function ofFailedCall({ code, error, sipCode }: CallEvents['call:failed']): Words {
  return ofCode(code, error, sipCode);
}

/** How a call ended. */
export function ofEndedCall({ endedBy, reason }: CallEvents['call:ended']): string {
  return BY_END[`${endedBy}:${reason}`] ?? BY_END[reason] ?? 'Ended';
}

/** What a code means; one that is not known here keeps the gateway's own words. */
export function ofCode(code: string, message: string, sipCode?: number): Words {
  // A refusal by the telephone system is best told by the system's own answer.
  const bySip = sipCode === undefined ? undefined : BY_SIP_CODE[sipCode];
  return bySip ?? (BY_CODE as Record<string, Words>)[code] ?? BY_OWN_CODE[code] ?? { text: message || code };
}

/** The code of a `connect_error`, whose message is `CODE: human text`; none where the network itself failed. */
export function codeOf(error: Error): string | undefined {
  return /^([A-Z][A-Z_]+): /.exec(error.message)?.[1];
}

export function ofConnectError(error: Error): Words {
  const code = codeOf(error);
  if (code) return ofCode(code, error.message.slice(code.length + 2));
  return { text: 'The gateway cannot be reached.', advice: 'Check your network. This page keeps trying.' };
}

/** What stands between the agent and the microphone. */
export function ofMicrophone(error: unknown): Words {
  const name = error instanceof Error ? error.name : '';
  switch (name) {
    case 'NotAllowedError':
      return {
        text: 'This page may not use your microphone.',
        advice: 'Click the symbol beside the address of this page, allow the microphone, then try again.',
      };
    case 'NotFoundError':
    case 'OverconstrainedError':
      return { text: 'No microphone was found.', advice: 'Plug in your headset, then try again.' };
    case 'NotReadableError':
    case 'AbortError':
      return { text: 'Your microphone cannot be opened.', advice: 'Another program may be using it: close that one, then try again.' };
    case 'SecurityError':
    case 'TypeError':
      return { text: 'Your browser gives no microphone to this page.', advice: 'Open the page by https; ask your supervisor for the address.' };
    default:
      return { text: 'The microphone does not work.', advice: `Try again. ${SUPERVISOR}` };
  }
}

/** No sound can pass; `where` is what the gateway told us to send to. */
export function ofBlockedSound(where: string[]): Words {
  const to = where.length > 0 ? ` to ${where.join(' or ')}` : '';
  return {
    text: 'Your network lets no sound through to the gateway.',
    advice: `Check your VPN. Your firewall must let UDP pass${to}. This page keeps trying.`,
  };
}

/** Anything that was thrown at us. */
export function ofError(error: unknown): Words {
  if (error instanceof Refused) return ofCode(error.code, error.message, error.sipCode);
  return { text: error instanceof Error && error.message ? error.message : 'Something went wrong.', advice: `Try again. ${SUPERVISOR}` };
}
