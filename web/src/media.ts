// The sound between this browser and the gateway: one transport each way, made once and kept for the whole shift,
// so that a call has sound the moment it is answered.

import { Device, type types } from 'mediasoup-client';
import type { Gateway } from './gateway';
import type { Sound } from './state';

export interface MediaListener {
  state(sound: Sound): void;
  /** Nothing came through in time; `where` is what was sent to, such as `192.0.2.1 port 10000`. */
  blocked(where: string[]): void;
  remote(track: MediaStreamTrack): void;
}

/** A network that lets UDP pass connects within a second. */
const PATIENCE_MS = 8_000;

export class Media {
  private device: Device | undefined;
  private send: types.Transport | undefined;
  private recv: types.Transport | undefined;
  private producer: types.Producer | undefined;
  private where = new Set<string>();
  private patience: number | undefined;

  constructor(
    private readonly ask: Gateway['ask'],
    private readonly listener: MediaListener,
  ) {}

  get sound(): Sound {
    if (!this.send || !this.recv) return 'off';
    const states = [this.send.connectionState, this.recv.connectionState];
    if (states.every((state) => state === 'connected')) return 'connected';
    if (states.includes('failed') || states.includes('closed')) return 'failed';
    return states.includes('disconnected') ? 'interrupted' : 'connecting';
  }

  /** Builds both directions anew; what there was is closed. `remoteProducerId` is the agent's one remote audio. */
  async start(microphone: MediaStreamTrack, remoteProducerId: string, mimeType: string): Promise<void> {
    this.close();
    if (!this.device) {
      const { capabilities } = await this.ask('webrtc:get-router-capabilities', {});
      const device = await Device.factory();
      await device.load({ routerRtpCapabilities: capabilities });
      this.device = device;
    }
    this.patience = window.setTimeout(() => this.sound !== 'connected' && this.listener.blocked([...this.where]), PATIENCE_MS);
    const send = await this.transport(this.device, 'send');
    const recv = await this.transport(this.device, 'recv');
    [this.send, this.recv] = [send, recv];
    this.changed();
    const { recvRtpCapabilities: rtpCapabilities } = this.device;
    const consume = this.ask('webrtc:consume', { transportId: recv.id, producerId: remoteProducerId, rtpCapabilities });
    const [consumer] = await Promise.all([consume.then((options) => recv.consume(options)), this.produce(microphone, mimeType)]);
    this.listener.remote(consumer.track);
  }

  /** Another microphone, in the middle of a call or not. */
  async replaceMicrophone(track: MediaStreamTrack): Promise<void> {
    await this.producer?.replaceTrack({ track });
  }

  /** Sends in another codec from now on. Not for the middle of a call: the far side agreed to the codec before. */
  async changeCodec(mimeType: string): Promise<void> {
    const old = this.producer;
    if (!old || old.closed || !old.track) return;
    old.close();
    await this.ask('webrtc:close-producer', { producerId: old.id });
    await this.produce(old.track, mimeType);
  }

  close(): void {
    window.clearTimeout(this.patience);
    for (const transport of [this.send, this.recv]) {
      transport?.close();
      // The gateway would notice by itself, but later. Without a connection it has to.
      if (transport) this.ask('webrtc:close-transport', { transportId: transport.id }).catch(() => undefined);
    }
    this.send = this.recv = this.producer = undefined;
    this.where.clear();
    this.changed();
  }

  private changed(): void {
    if (this.sound === 'connected' || this.sound === 'off') window.clearTimeout(this.patience);
    if (this.sound === 'failed') this.listener.blocked([...this.where]);
    this.listener.state(this.sound);
  }

  private async transport(device: Device, direction: 'send' | 'recv'): Promise<types.Transport> {
    const options = await this.ask('webrtc:create-transport', { direction });
    for (const { address, ip, port } of options.iceCandidates) this.where.add(`${address ?? ip} port ${port}`);
    const transport = direction === 'send' ? device.createSendTransport(options) : device.createRecvTransport(options);
    transport.on('connectionstatechange', () => (transport === this.send || transport === this.recv) && this.changed());
    transport.on('connect', ({ dtlsParameters }, done, fail) => {
      this.ask('webrtc:connect-transport', { transportId: transport.id, dtlsParameters }).then(done, fail);
    });
    transport.on('produce', ({ kind, rtpParameters }, done, fail) => {
      this.ask('webrtc:produce', { transportId: transport.id, kind, rtpParameters }).then(({ producerId }) => done({ id: producerId }), fail);
    });
    return transport;
  }

  private async produce(track: MediaStreamTrack, mimeType: string): Promise<void> {
    const codec = this.device?.sendRtpCapabilities.codecs?.find((each) => each.mimeType.toLowerCase() === mimeType.toLowerCase());
    this.producer = await this.send?.produce({ track, stopTracks: false, ...(codec && { codec }) });
  }
}
