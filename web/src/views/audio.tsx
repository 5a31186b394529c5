import type { Signal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { Bell, Volume2 } from 'lucide';
import { canChooseSpeaker, chosenMicrophone, chosenSpeaker, DEFAULT_LABEL, echoCancellation, lookAtDevices, microphones, noiseSuppression, speakers, type Device } from '../devices';
import { codec, type Line } from '../line';
import { allowNotifications, notifications } from '../ringing';
import { meters, testTone } from '../sound';
import { calls, dialog } from '../state';
import { Dialog } from './dialog';
import { Icon } from './icon';
import { Level } from './level';

const CODECS = { 'audio/opus': 'Opus (best sound)', 'audio/PCMU': 'G.711 µ-law (PCMU)', 'audio/PCMA': 'G.711 A-law (PCMA)' };

export function AudioDialog({ line }: { line: Line | undefined }) {
  useEffect(() => void lookAtDevices(), []);
  return (
    <Dialog title="Audio settings" close={() => (dialog.value = undefined)}>
      <div class="field">
        <DeviceChoice label="Microphone" devices={microphones.value} chosen={chosenMicrophone} />
        <Level label="Level" meter={meters.you} />
        <Check label="Cancel the echo of the speaker" flag={echoCancellation} />
        <Check label="Suppress noise" flag={noiseSuppression} />
      </div>
      <div class="field">
        {canChooseSpeaker && <DeviceChoice label="Speaker" devices={speakers.value} chosen={chosenSpeaker} />}
        <button type="button" onClick={testTone}>
          <Icon of={Volume2} />
          Play a test tone
        </button>
      </div>
      <div class="field">
        <label>
          Codec
          <select value={codec.value} disabled={!line || calls.value.length > 0} onChange={(event) => line?.changeCodec(event.currentTarget.value)}>
            {Object.entries(CODECS).map(([mimeType, name]) => (
              <option key={mimeType} value={mimeType}>
                {name}
              </option>
            ))}
          </select>
        </label>
        {calls.value.length > 0 && <p class="hint">It can be changed when there is no call.</p>}
      </div>
      {notifications.value !== 'unsupported' && <Notifications />}
    </Dialog>
  );
}

function DeviceChoice({ label, devices, chosen }: { label: string; devices: readonly Device[]; chosen: Signal<string> }) {
  const isGone = chosen.value !== '' && !devices.some(({ id }) => id === chosen.value);
  return (
    <label>
      {label}
      <select value={chosen.value} onChange={(event) => (chosen.value = event.currentTarget.value)}>
        <option value="">{DEFAULT_LABEL}</option>
        {devices.map(({ id, label: name }) => (
          <option key={id} value={id}>
            {name}
          </option>
        ))}
        {isGone && <option value={chosen.value}>The one chosen before (not plugged in)</option>}
      </select>
    </label>
  );
}

export function Check({ label, flag }: { label: string; flag: Signal<boolean> }) {
  return (
    <label class="check">
      <input type="checkbox" checked={flag.value} onChange={(event) => (flag.value = event.currentTarget.checked)} />
      {label}
    </label>
  );
}

function Notifications() {
  const words = {
    granted: 'Incoming calls show a notification when this page is in the background.',
    denied: 'Your browser shows no notifications of this page. Allow them beside the address if you want them.',
    default: 'A notification can tell you of an incoming call when this page is in the background.',
  };
  if (notifications.value === 'unsupported') return null;
  return (
    <div class="field">
      <p>{words[notifications.value]}</p>
      {notifications.value === 'default' && (
        <button type="button" onClick={() => void allowNotifications()}>
          <Icon of={Bell} />
          Allow notifications
        </button>
      )}
    </div>
  );
}
