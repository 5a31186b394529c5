// The audio: microphone to the gateway and back, by mediasoup-client. Both transports stay up for the whole shift,
// so that a call has sound the moment it is answered.

import { Device, type types } from 'mediasoup-client';
import type { Gateway } from './gateway';

export type Side = 'send' | 'recv';

export interface MediaListener {
  state(side: Side, state: types.ConnectionState): void;
  microphone(track: MediaStreamTrack): void;
  remote(track: MediaStreamTrack): void;
}

export class Media {
  private device: Device | undefined;
  private send: types.Transport | undefined;
  private recv: types.Transport | undefined;
  private producer: types.Producer | undefined;
  private microphone: MediaStreamTrack | undefined;

  constructor(
    private readonly gateway: Gateway,
    private readonly listener: MediaListener,
  ) {}

  /** True while both directions carry sound, or are about to. */
  get usable(): boolean {
    return [this.send, this.recv].every((t) => t && !t.closed && (t.connectionState === 'connected' || t.connectionState === 'connecting'));
  }

  /** Builds both directions anew; what there was is closed. `remoteProducerId` is the agent's one remote audio. */
  async start(remoteProducerId: string, mimeType: string): Promise<void> {
    this.close();
    if (!this.device) {
      const { capabilities } = await this.gateway.ask('webrtc:get-router-capabilities', {});
      this.device = await Device.factory();
      await this.device.load({ routerRtpCapabilities: capabilities });
    }
    this.microphone ??= await openMicrophone();
    this.listener.microphone(this.microphone);

    this.send = await this.transport('send');
    this.recv = await this.transport('recv');
    await Promise.all([this.produce(mimeType), this.consume(remoteProducerId)]);
  }

  /** Sends the microphone in another codec from now on: calls made after this use it. */
  async changeCodec(mimeType: string): Promise<void> {
    if (!this.send || this.send.closed) return;
    const old = this.producer;
    old?.close();
    if (old) await this.gateway.ask('webrtc:close-producer', { producerId: old.id });
    await this.produce(mimeType);
  }

  /** Ends both directions here; the gateway notices by itself. The microphone stays open for a new start. */
  close(): void {
    this.send?.close();
    this.recv?.close();
    this.send = this.recv = this.producer = undefined;
  }

  /** Lets go of the microphone too. */
  end(): void {
    this.close();
    this.microphone?.stop();
    this.microphone = undefined;
  }

  private async transport(side: Side): Promise<types.Transport> {
    const device = this.device!;
    const options = await this.gateway.ask('webrtc:create-transport', { direction: side });
    const transport = side === 'send' ? device.createSendTransport(options) : device.createRecvTransport(options);
    this.listener.state(side, transport.connectionState);
    transport.on('connectionstatechange', (state) => this.listener.state(side, state));
    transport.on('connect', ({ dtlsParameters }, done, fail) => {
      this.gateway.ask('webrtc:connect-transport', { transportId: transport.id, dtlsParameters }).then(done, fail);
    });
    transport.on('produce', ({ kind, rtpParameters }, done, fail) => {
      this.gateway
        .ask('webrtc:produce', { transportId: transport.id, kind, rtpParameters })
        .then(({ producerId }) => done({ id: producerId }), fail);
    });
    return transport;
  }

  private async produce(mimeType: string): Promise<void> {
    const codec = this.device!.sendRtpCapabilities.codecs?.find((c) => c.mimeType.toLowerCase() === mimeType.toLowerCase());
    this.producer = await this.send!.produce({ track: this.microphone!, codec, stopTracks: false });
  }

  private async consume(producerId: string): Promise<void> {
    const recv = this.recv!;
    const rtpCapabilities = this.device!.recvRtpCapabilities;
    const consumer = await recv.consume(await this.gateway.ask('webrtc:consume', { transportId: recv.id, producerId, rtpCapabilities }));
    this.listener.remote(consumer.track);
  }
}

async function openMicrophone(): Promise<MediaStreamTrack> {
  if (!navigator.mediaDevices) throw new Error('The browser gives the microphone only to pages on https or localhost.');
  const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
  return stream.getAudioTracks()[0]!;
}
