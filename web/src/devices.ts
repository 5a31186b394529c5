// The microphone and the speaker that the agent chose, and what is plugged in at the moment.

import { computed, signal } from '@preact/signals';
import { isFlag, isText, stored } from './stored';

export interface Device {
  id: string;
  label: string;
}

export const microphones = signal<readonly Device[]>([]);
export const speakers = signal<readonly Device[]>([]);

/** Empty is whatever the system takes. */
export const chosenMicrophone = stored('microphone', '', isText);
export const chosenSpeaker = stored('speaker', '', isText);
export const echoCancellation = stored('echo-cancellation', true, isFlag);
export const noiseSuppression = stored('noise-suppression', true, isFlag);

/** The chosen speaker while it is plugged in. */
export const speaker = computed(() => (speakers.value.some(({ id }) => id === chosenSpeaker.value) ? chosenSpeaker.value : ''));

/** Not every browser lets a page choose. */
export const canChooseSpeaker = 'setSinkId' in HTMLMediaElement.prototype;

export const DEFAULT_LABEL = 'System default';

/** Opens the chosen microphone, or the system's where that one is not plugged in. Throws what the browser says. */
export async function openMicrophone(): Promise<MediaStreamTrack> {
  const processing = { echoCancellation: echoCancellation.value, noiseSuppression: noiseSuppression.value };
  const open = async (deviceId?: string) => {
    const audio = deviceId ? { ...processing, deviceId: { exact: deviceId } } : processing;
    const [track] = (await navigator.mediaDevices.getUserMedia({ audio })).getAudioTracks();
    if (!track) throw new DOMException('no audio track', 'NotFoundError');
    return track;
  };
  const track = await open(chosenMicrophone.value).catch((error: unknown) => {
    const isGone = error instanceof DOMException && (error.name === 'OverconstrainedError' || error.name === 'NotFoundError');
    if (!chosenMicrophone.value || !isGone) throw error;
    return open();
  });
  // Only now does the browser tell the devices' names.
  await lookAtDevices();
  return track;
}

export async function lookAtDevices(): Promise<void> {
  const devices = (await navigator.mediaDevices?.enumerateDevices().catch(() => [])) ?? [];
  const of = (kind: MediaDeviceKind) =>
    devices
      // `default` and `communications` are further names of devices that are listed anyway.
      .filter((device) => device.kind === kind && device.deviceId && !['default', 'communications'].includes(device.deviceId))
      .map((device, index) => ({ id: device.deviceId, label: device.label || `${kind === 'audioinput' ? 'Microphone' : 'Speaker'} ${index + 1}` }));
  microphones.value = of('audioinput');
  speakers.value = of('audiooutput');
}

/** Whether this is not the microphone that the agent wants and could have. */
export function isSecondChoice(track: MediaStreamTrack): boolean {
  const wanted = chosenMicrophone.value;
  return microphones.value.some(({ id }) => id === wanted) && track.getSettings().deviceId !== wanted;
}

/** Tells when something was plugged in or pulled out, and when the microphone's permission changes. */
export function watchDevices(changed: () => void): void {
  navigator.mediaDevices?.addEventListener('devicechange', () => void lookAtDevices().then(changed));
  void navigator.permissions
    ?.query({ name: 'microphone' })
    .then((permission) => permission.addEventListener('change', changed))
    .catch(() => undefined);
}
