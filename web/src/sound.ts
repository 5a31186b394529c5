// Level meters, and the tones that a telephone makes by itself.

/** Where a meter starts: what is quieter shows as nothing. */
const FLOOR_DB = -60;
const METER_INTERVAL_MS = 80;
/** As long as the interval and a little more, so that no short sound falls between two looks. */
const METER_SAMPLES = 4096;

/** One for the page: browsers allow few, and start it only after a gesture or with the microphone open. */
let shared: AudioContext | undefined;
function audio(): AudioContext {
  shared ??= new AudioContext();
  if (shared.state === 'suspended') void shared.resume();
  return shared;
}

/** Shows how loud a track is, as a value from 0 to 100 of an element with role `meter`. */
export class Meter {
  private readonly analyser: AnalyserNode;
  private source: MediaStreamAudioSourceNode | undefined;

  constructor(private readonly element: HTMLElement) {
    this.analyser = audio().createAnalyser();
    this.analyser.fftSize = METER_SAMPLES;
    const samples = new Float32Array(this.analyser.fftSize);
    setInterval(() => {
      this.analyser.getFloatTimeDomainData(samples);
      const power = samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length;
      this.show(power > 0 ? 10 * Math.log10(power) : -Infinity);
    }, METER_INTERVAL_MS);
  }

  listenTo(track: MediaStreamTrack): void {
    this.source?.disconnect();
    this.source = audio().createMediaStreamSource(new MediaStream([track]));
    this.source.connect(this.analyser);
  }

  private show(decibels: number): void {
    const level = Math.round(Math.min(100, Math.max(0, (1 - decibels / FLOOR_DB) * 100)));
    this.element.setAttribute('aria-valuenow', String(level));
    this.element.style.setProperty('--level', `${level}%`);
  }
}

export type Ring = 'ringback' | 'incoming';

/** Ringback (425 Hz, 1 s in 5) and the ring of an incoming call (two notes, 2 s in 4). */
export class Ringer {
  private playing: { ring: Ring; stop: () => void } | undefined;

  /** Plays that ring until told otherwise; `undefined` is silence. */
  play(ring: Ring | undefined): void {
    if (ring === this.playing?.ring) return;
    this.playing?.stop();
    this.playing = ring && { ring, stop: ring === 'ringback' ? cadence([425], 1, 5) : cadence([660, 880], 2, 4) };
  }
}

function cadence(frequencies: number[], onSeconds: number, everySeconds: number): () => void {
  const context = audio();
  const gain = context.createGain();
  gain.gain.value = 0;
  gain.connect(context.destination);
  const oscillators = frequencies.map((frequency) => {
    const oscillator = new OscillatorNode(context, { frequency });
    oscillator.connect(gain);
    oscillator.start();
    return oscillator;
  });
  const burst = () => {
    gain.gain.setTargetAtTime(0.08, context.currentTime, 0.01);
    gain.gain.setTargetAtTime(0, context.currentTime + onSeconds, 0.01);
  };
  burst();
  const timer = setInterval(burst, everySeconds * 1000);
  return () => {
    clearInterval(timer);
    for (const oscillator of oscillators) oscillator.stop();
    gain.disconnect();
  };
}
