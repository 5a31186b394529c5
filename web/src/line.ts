// The agent's line: the microphone and the two transports, kept up whatever happens to either.

import { batch, computed } from '@preact/signals';
import { chosenMicrophone, echoCancellation, isSecondChoice, microphones, noiseSuppression, openMicrophone, watchDevices } from './devices';
import type { Gateway } from './gateway';
import { Media } from './media';
import { hear, meters } from './sound';
import { calls, dismiss, microphone, notify, sound, type Sound } from './state';
import { isText, stored } from './stored';
import { ofBlockedSound, ofError, ofMicrophone } from './words';

/** How the microphone is coded; used from the next sign-in or the next change on. */
export const codec = stored('codec', 'audio/opus', isText);

/** How long after a failure both directions are built anew. */
const REBUILD_DELAY_MS = 2_000;

export class Line {
  private readonly media: Media;
  private track: MediaStreamTrack | undefined;
  private producerId: string | undefined;
  private building: Promise<void> | undefined;
  private rebuild: number | undefined;
  private muted = false;
  private over = false;
  private readonly stops: (() => void)[] = [];

  constructor(ask: Gateway['ask']) {
    this.media = new Media(ask, {
      state: (state) => this.soundChanged(state),
      blocked: (where) => notify({ topic: 'sound', kind: 'error', ...ofBlockedSound(where) }),
      remote: (remote) => {
        hear(remote);
        meters.caller.listenTo(remote);
      },
    });
    watchDevices(() => this.devicesChanged());
    const chosen = computed(() => [chosenMicrophone.value, echoCancellation.value, noiseSuppression.value].join());
    let known = chosen.value;
    this.stops.push(
      chosen.subscribe((wanted) => {
        if (wanted !== known) void this.changeMicrophone();
        known = wanted;
      }),
    );
  }

  /** Makes both directions, unless they carry sound already; those of another `producerId` are of a gateway that has forgotten us. */
  keepUp(producerId: string): void {
    const isUp = producerId === this.producerId && ['connected', 'connecting'].includes(this.media.sound);
    this.producerId = producerId;
    if (!isUp) this.start();
  }

  /** Tries the microphone again, and with it everything. */
  retry(): void {
    if (this.media.sound === 'connected') void this.changeMicrophone();
    else this.start();
  }

  mute(muted: boolean): void {
    this.muted = muted;
    if (this.track) this.track.enabled = !muted;
  }

  changeCodec(mimeType: string): void {
    codec.value = mimeType;
    if (calls.value.length === 0) this.media.changeCodec(mimeType).catch((error: unknown) => notify({ topic: 'sound', kind: 'error', ...ofError(error) }));
  }

  end(): void {
    this.over = true;
    window.clearTimeout(this.rebuild);
    for (const stop of this.stops) stop();
    this.media.close();
    this.track?.stop();
    batch(() => {
      microphone.value = 'off';
      sound.value = 'off';
    });
  }

  // --- inside

  /** One at a time; a wish while one is under way is done after it. */
  private start(): void {
    window.clearTimeout(this.rebuild);
    const before = this.building ?? Promise.resolve();
    this.building = before.then(async () => {
      if (this.over || !this.producerId) return;
      try {
        const track = await this.openMicrophone();
        if (track && !this.over) await this.media.start(track, this.producerId, codec.value);
      } catch (error) {
        // Lost connections are told elsewhere, and what follows them comes back here.
        if (!this.over) this.rebuildLater();
        console.warn('the sound connection was not made:', error);
      }
    });
  }

  private async openMicrophone(): Promise<MediaStreamTrack | undefined> {
    if (this.track?.readyState === 'live') return this.track;
    microphone.value = 'asking';
    try {
      const track = await openMicrophone();
      if (this.over) return void track.stop();
      this.use(track);
      return track;
    } catch (error) {
      microphone.value = 'unusable';
      notify({ topic: 'microphone', kind: 'error', ...ofMicrophone(error), action: { label: 'Try again', run: () => this.retry() } });
      return undefined;
    }
  }

  private use(track: MediaStreamTrack): void {
    this.track?.stop();
    this.track = track;
    track.enabled = !this.muted;
    const changed = () => track === this.track && (microphone.value = track.muted ? 'silent' : 'on');
    track.addEventListener('mute', changed);
    track.addEventListener('unmute', changed);
    track.addEventListener('ended', () => track === this.track && void this.changeMicrophone());
    changed();
    dismiss('microphone');
    meters.you.listenTo(track);
  }

  /** Another microphone, and in the middle of a call nobody notices. */
  private async changeMicrophone(): Promise<void> {
    if (this.over || !this.producerId) return;
    const wasLost = this.track?.readyState === 'ended';
    // Some devices can be opened once only: the one in use is let go first.
    this.track?.stop();
    const track = await this.openMicrophone();
    if (!track) return;
    if (wasLost) notify({ topic: 'microphone', kind: 'info', text: `Your microphone was unplugged. This page now listens to ${track.label}.` });
    if (this.media.sound === 'off' || this.media.sound === 'failed') this.start();
    else await this.media.replaceMicrophone(track);
  }

  private devicesChanged(): void {
    if (this.over) return;
    const missing = microphone.value === 'unusable' && microphones.value.length > 0;
    if (missing || (this.track && isSecondChoice(this.track))) this.retry();
  }

  private soundChanged(state: Sound): void {
    sound.value = state;
    if (state === 'connected') dismiss('sound');
    if (state === 'failed') this.rebuildLater();
  }

  private rebuildLater(): void {
    window.clearTimeout(this.rebuild);
    this.rebuild = window.setTimeout(() => !this.over && this.media.sound !== 'connected' && this.start(), REBUILD_DELAY_MS);
  }
}
