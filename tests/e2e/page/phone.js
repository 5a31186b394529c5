// A plain mediasoup-client application, as small as one can be: what the tests do in the browser, through `window.Phone`.

import { Device } from 'mediasoup-client';
import { io } from 'socket.io-client';

/** Speech processing off: a beep that comes back would otherwise be taken for an echo and removed. */
const PLAIN_MICROPHONE = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };

window.Phone = class Phone {
  events = [];

  /** With `toneHz` it sends that tone in place of the microphone. */
  static async connect(url, { agentId, mimeType, tenantId = 'e2e', toneHz }) {
    const phone = new Phone();
    const socket = io(url, { auth: { token: 'a-dev-token', agentId, tenantId, userId: agentId }, forceNew: true });
    phone.socket = socket;
    socket.onAny((name, payload) => phone.events.push({ name, ...payload }));
    phone.welcome = await new Promise((resolve, reject) => {
      socket.once('connected', resolve);
      socket.once('connect_error', reject);
    });

    phone.device = new Device();
    await phone.device.load({ routerRtpCapabilities: (await phone.ask('webrtc:get-router-capabilities')).capabilities });
    phone.send = phone.device.createSendTransport(await phone.ask('webrtc:create-transport', { direction: 'send' }));
    phone.recv = phone.device.createRecvTransport(await phone.ask('webrtc:create-transport', { direction: 'recv' }));
    for (const transport of [phone.send, phone.recv]) {
      transport.on('connect', ({ dtlsParameters }, done, fail) => {
        phone.ask('webrtc:connect-transport', { transportId: transport.id, dtlsParameters }).then(done, fail);
      });
    }
    phone.send.on('produce', ({ kind, rtpParameters }, done, fail) => {
      phone.ask('webrtc:produce', { transportId: phone.send.id, kind, rtpParameters }).then(({ producerId }) => done({ id: producerId }), fail);
    });

    phone.microphone = toneHz ? toneTrack(toneHz) : await microphoneTrack();
    const codec = phone.device.sendRtpCapabilities.codecs.find((each) => each.mimeType.toLowerCase() === mimeType.toLowerCase());
    phone.producer = await phone.send.produce({ track: phone.microphone, codec, zeroRtpOnPause: true, stopTracks: false });
    phone.consumer = await phone.recv.consume(
      await phone.ask('webrtc:consume', {
        transportId: phone.recv.id,
        producerId: phone.welcome.producerId,
        rtpCapabilities: phone.device.recvRtpCapabilities,
      }),
    );
    // Chromium decodes a remote track only while something plays it.
    phone.audio = new Audio();
    phone.audio.srcObject = new MediaStream([phone.consumer.track]);
    await phone.audio.play();
    return phone;
  }

  async ask(event, payload = {}) {
    const answer = await this.socket.timeout(20_000).emitWithAck(event, payload);
    if (!answer.success) throw new Error(`${event}: ${answer.code} ${answer.error}`);
    return answer;
  }

  /** The event of that name and call, now or when it comes. */
  async event(name, callId, timeoutMs = 15_000) {
    const end = performance.now() + timeoutMs;
    for (;;) {
      const found = this.events.find((event) => event.name === name && event.callId === callId);
      if (found) return found;
      if (performance.now() > end) throw new Error(`no ${name}; there were ${JSON.stringify(this.events.slice(-8))}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** Dials, and waits for the answer. */
  async call(phoneNumber) {
    const { callId } = await this.ask('call:dial', { phoneNumber });
    await this.event('call:answered', callId);
    return callId;
  }

  async hangUp(callId) {
    await this.ask('call:hangup', { callId });
    return this.event('call:ended', callId);
  }

  /** Seconds of what arrives, as samples. */
  hear(seconds) {
    return record(this.consumer.track, seconds);
  }

  /** Seconds of what the microphone gives. */
  speak(seconds) {
    return record(this.microphone, seconds);
  }

  /** The strongest frequency of what arrives just now, to a few Hz. */
  async pitch() {
    const context = audioContext();
    await context.resume();
    const analyser = new AnalyserNode(context, { fftSize: 16_384, smoothingTimeConstant: 0 });
    const source = context.createMediaStreamSource(new MediaStream([this.consumer.track]));
    source.connect(analyser);
    await new Promise((resolve) => setTimeout(resolve, 600));
    const levels = new Float32Array(analyser.frequencyBinCount);
    analyser.getFloatFrequencyData(levels);
    source.disconnect();
    const peak = levels.indexOf(Math.max(...levels));
    return { hz: (peak * context.sampleRate) / analyser.fftSize, decibels: levels[peak] };
  }

  /** What the browser counted so far. */
  async counters() {
    const outbound = await statistics(this.producer, 'outbound-rtp');
    const inbound = await statistics(this.consumer, 'inbound-rtp');
    return {
      sent: { packets: outbound.packetsSent ?? 0, bytes: outbound.bytesSent ?? 0 },
      received: { packets: inbound.packetsReceived ?? 0, bytes: inbound.bytesReceived ?? 0, lost: inbound.packetsLost ?? 0 },
    };
  }

  close() {
    this.socket.disconnect();
    this.send.close();
    this.recv.close();
    this.microphone.stop();
  }
};

async function microphoneTrack() {
  const stream = await navigator.mediaDevices.getUserMedia({ audio: PLAIN_MICROPHONE });
  return stream.getAudioTracks()[0];
}

function toneTrack(frequency) {
  const destination = new MediaStreamAudioDestinationNode(audioContext());
  const oscillator = new OscillatorNode(audioContext(), { frequency });
  oscillator.connect(new GainNode(audioContext(), { gain: 0.3 })).connect(destination);
  oscillator.start();
  return destination.stream.getAudioTracks()[0];
}

let context;
function audioContext() {
  context ??= new AudioContext({ sampleRate: 48_000 });
  return context;
}

async function statistics(streamOwner, type) {
  return [...(await streamOwner.getStats()).values()].find((report) => report.type === type) ?? {};
}

let recorderCode;
async function record(track, seconds) {
  const context = audioContext();
  if (!recorderCode) {
    const code = `registerProcessor('recorder', class extends AudioWorkletProcessor {
      process([[samples]]) { if (samples) this.port.postMessage(samples.slice()); return true; }
    })`;
    recorderCode = context.audioWorklet.addModule(URL.createObjectURL(new Blob([code], { type: 'text/javascript' })));
  }
  await recorderCode;
  await context.resume();
  const source = context.createMediaStreamSource(new MediaStream([track]));
  const recorder = new AudioWorkletNode(context, 'recorder');
  const samples = new Float32Array(Math.round(seconds * context.sampleRate));
  let filled = 0;
  await new Promise((resolve) => {
    recorder.port.onmessage = ({ data }) => {
      const rest = data.subarray(0, samples.length - filled);
      samples.set(rest, filled);
      filled += rest.length;
      if (filled === samples.length) resolve();
    };
    source.connect(recorder).connect(context.destination);
  });
  recorder.port.onmessage = null;
  source.disconnect();
  recorder.disconnect();
  return { sampleRate: context.sampleRate, samples };
}

/** Frequency, in Hz, of each third of a second: the highest peak of the spectrum, between bins by a parabola. */
window.tones = ({ sampleRate, samples }) => {
  const size = 16_384;
  const found = [];
  for (let start = 0; start + size <= samples.length; start += size) {
    const re = new Float64Array(size);
    const im = new Float64Array(size);
    for (let n = 0; n < size; n += 1) re[n] = samples[start + n] * (0.5 - 0.5 * Math.cos((2 * Math.PI * n) / size));
    fft(re, im);
    const power = (bin) => Math.log(re[bin] ** 2 + im[bin] ** 2 + 1e-30);
    let peak = 1;
    for (let bin = 2; bin < size / 2 - 1; bin += 1) if (power(bin) > power(peak)) peak = bin;
    const [left, middle, right] = [power(peak - 1), power(peak), power(peak + 1)];
    found.push(((peak + (0.5 * (left - right)) / (left - 2 * middle + right)) * sampleRate) / size);
  }
  return found;
};

/** When each beep begins, in seconds: where the level rises over a third of the loudest after 150 ms of quiet. */
window.beeps = ({ sampleRate, samples }) => {
  const step = Math.round(sampleRate / 200);
  const levels = [];
  for (let start = 0; start + step <= samples.length; start += step) {
    levels.push(Math.sqrt(samples.subarray(start, start + step).reduce((sum, sample) => sum + sample * sample, 0) / step));
  }
  const loud = Math.max(...levels) / 3;
  const begins = [];
  let last = -Infinity;
  levels.forEach((level, index) => {
    const at = (index * step) / sampleRate;
    if (level <= loud) return;
    if (at - last > 0.15) begins.push(at);
    last = at;
  });
  return { begins, loudest: Math.max(...levels) };
};

/** In place; the length is a power of two. */
function fft(re, im) {
  const size = re.length;
  for (let i = 1, j = 0; i < size; i += 1) {
    let bit = size >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) {
      [re[i], re[j]] = [re[j], re[i]];
      [im[i], im[j]] = [im[j], im[i]];
    }
  }
  for (let length = 2; length <= size; length *= 2) {
    for (let start = 0; start < size; start += length) {
      for (let k = 0; k < length / 2; k += 1) {
        const angle = (-2 * Math.PI * k) / length;
        const [a, b] = [start + k, start + k + length / 2];
        const [c, s] = [Math.cos(angle), Math.sin(angle)];
        const [tr, ti] = [re[b] * c - im[b] * s, re[b] * s + im[b] * c];
        [re[b], im[b]] = [re[a] - tr, im[a] - ti];
        [re[a], im[a]] = [re[a] + tr, im[a] + ti];
      }
    }
  }
}
