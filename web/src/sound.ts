// Level meters, the tones that a telephone makes by itself, and the far party's voice.

import { effect, signal, type Signal } from '@preact/signals';
import { speaker } from './devices';

/** Where a meter starts: what is quieter shows as nothing. */
const FLOOR_DB = -60;
const METER_INTERVAL_MS = 80;
/** As long as the interval and a little more, so that no short sound falls between two looks. */
const METER_SAMPLES = 4096;

/** Browsers play nothing before a gesture or an open microphone. */
export const soundBlocked = signal(false);

const voice = new Audio();
voice.autoplay = true;

/** One for the page: browsers allow few. */
let shared: (AudioContext & { setSinkId?: (id: string) => Promise<void> }) | undefined;

function audio(): AudioContext {
  if (!shared) {
    shared = new AudioContext();
    shared.addEventListener('statechange', () => (soundBlocked.value = shared?.state === 'suspended'));
    routeTo(speaker.peek());
  }
  if (shared.state === 'suspended') shared.resume().catch(() => undefined);
  return shared;
}

effect(() => routeTo(speaker.value));

function routeTo(id: string): void {
  // A speaker that was pulled out this moment: the next look at the devices chooses another.
  const ignored = () => undefined;
  if ('setSinkId' in voice) voice.setSinkId(id).catch(ignored);
  shared?.setSinkId?.(id).catch(ignored);
}

/** Lets the far party be heard. */
export function hear(track: MediaStreamTrack): void {
  voice.srcObject = new MediaStream([track]);
  unblock();
}

/** After a gesture of the agent: whatever the browser held back. */
export function unblock(): void {
  if (voice.srcObject) {
    voice.play().then(
      () => (soundBlocked.value = shared?.state === 'suspended'),
      // A newer track interrupts the one before; only a refusal needs the agent.
      (error: unknown) => (soundBlocked.value = error instanceof DOMException && error.name === 'NotAllowedError'),
    );
  }
  if (shared?.state === 'suspended') shared.resume().catch(() => undefined);
}

/** How loud a track is, 0 to 100. */
export class Meter {
  readonly level: Signal<number> = signal(0);
  private analyser: AnalyserNode | undefined;
  private source: MediaStreamAudioSourceNode | undefined;
  private readonly samples = new Float32Array(METER_SAMPLES);

  listenTo(track: MediaStreamTrack): void {
    const context = audio();
    if (!this.analyser) {
      this.analyser = new AnalyserNode(context, { fftSize: METER_SAMPLES });
      setInterval(() => this.look(), METER_INTERVAL_MS);
    }
    this.source?.disconnect();
    this.source = context.createMediaStreamSource(new MediaStream([track]));
    this.source.connect(this.analyser);
  }

  private look(): void {
    if (document.hidden) return;
    this.analyser?.getFloatTimeDomainData(this.samples);
    const power = this.samples.reduce((sum, sample) => sum + sample * sample, 0) / this.samples.length;
    const decibels = power > 0 ? 10 * Math.log10(power) : -Infinity;
    this.level.value = Math.round(Math.min(100, Math.max(0, (1 - decibels / FLOOR_DB) * 100)));
  }
}

export const meters = { you: new Meter(), caller: new Meter() };

/** Ringback, the ring of an incoming call, and the knock of a second one while the agent talks. */
export type Ring = 'ringback' | 'incoming' | 'waiting';

const CADENCES: Record<Ring, { frequencies: number[]; onSeconds: number; everySeconds: number; volume: number }> = {
  ringback: { frequencies: [425], onSeconds: 1, everySeconds: 5, volume: 0.08 },
  incoming: { frequencies: [660, 880], onSeconds: 2, everySeconds: 4, volume: 0.12 },
  waiting: { frequencies: [425], onSeconds: 0.2, everySeconds: 5, volume: 0.05 },
};

let playing: { ring: Ring; stop: () => void } | undefined;

/** Plays that ring until told otherwise; `undefined` is silence. */
export function ring(wanted: Ring | undefined): void {
  if (wanted === playing?.ring) return;
  playing?.stop();
  playing = wanted && { ring: wanted, stop: repeat(wanted) };
}

function repeat(wanted: Ring): () => void {
  const { frequencies, onSeconds, everySeconds, volume } = CADENCES[wanted];
  const burst = () => tone(frequencies, onSeconds, volume);
  let stop = burst();
  const timer = setInterval(() => (stop = burst()), everySeconds * 1000);
  return () => {
    clearInterval(timer);
    stop();
  };
}

/** Plays one tone, and gives what stops it early. */
function tone(frequencies: number[], seconds: number, volume: number, delaySeconds = 0): () => void {
  const context = audio();
  const from = context.currentTime + delaySeconds;
  const gain = new GainNode(context, { gain: 0 });
  gain.connect(context.destination);
  // Not from one moment to the next: that would click.
  gain.gain.setTargetAtTime(volume, from, 0.01);
  gain.gain.setTargetAtTime(0, from + seconds, 0.01);
  const oscillators = frequencies.map((frequency) => {
    const oscillator = new OscillatorNode(context, { frequency });
    oscillator.connect(gain);
    oscillator.start(from);
    oscillator.stop(from + seconds + 0.1);
    return oscillator;
  });
  return () => {
    for (const oscillator of oscillators) oscillator.stop();
  };
}

const DTMF_ROWS = [697, 770, 852, 941];
const DTMF_COLUMNS = [1209, 1336, 1477];
export const KEYS = ['123', '456', '789', '*0#'];

/** What a telephone lets its user hear of a key (ITU-T Q.23). */
export function keyTone(key: string): void {
  const row = KEYS.findIndex((keys) => keys.includes(key));
  const frequencies = [DTMF_ROWS[row], DTMF_COLUMNS[KEYS[row]?.indexOf(key) ?? -1]].filter((frequency) => frequency !== undefined);
  if (frequencies.length === 2) tone(frequencies, 0.12, 0.05);
}

/** Three notes, to hear whether the speaker is the right one. */
export function testTone(): void {
  [523, 659, 784].forEach((frequency, index) => tone([frequency], 0.25, 0.15, index * 0.3));
}
