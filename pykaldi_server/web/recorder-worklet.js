/**
 * Runs on the audio thread: takes the microphone's samples, brings them to the wanted rate, and posts blocks of 16-bit
 * samples together with their peak level.
 *
 * Resampling is by a windowed sinc: output sample k lies at input position k * step; its taps, which repeat with the
 * phase of that position, are computed once.
 */

const BLOCK_MS = 50;
const ZERO_CROSSINGS = 8;

class Recorder extends AudioWorkletProcessor {
  constructor({ processorOptions: { rateHz } }) {
    super();
    const common = greatestCommonDivisor(sampleRate, rateHz);
    this.inputsPerUnit = sampleRate / common;
    this.outputsPerUnit = rateHz / common;
    // The filter stops at half of the lower rate, a little early so that its slope does not alias.
    const cutoff = (0.95 * Math.min(1, rateHz / sampleRate)) / 2;
    this.reach = rateHz === sampleRate ? 0 : Math.ceil(ZERO_CROSSINGS / (2 * cutoff));
    this.taps = Array.from({ length: this.outputsPerUnit }, (_, phase) => this.tapsOf(phase, cutoff));
    this.input = new Float32Array(this.reach);
    this.inputStart = -this.reach; // stream position of this.input[0]
    this.nextOutput = 0;
    this.block = new Int16Array(Math.round((rateHz * BLOCK_MS) / 1000));
    this.filled = 0;
    this.peak = 0;
    this.running = true;
    this.port.onmessage = () => this.stop();
  }

  tapsOf(phase, cutoff) {
    if (this.reach === 0) return Float32Array.of(1);
    const offset = ((phase * this.inputsPerUnit) / this.outputsPerUnit) % 1;
    const taps = new Float32Array(2 * this.reach + 1);
    for (let i = 0; i < taps.length; i++) {
      const t = i - this.reach - offset;
      const hann = Math.abs(t) < this.reach ? 0.5 + 0.5 * Math.cos((Math.PI * t) / this.reach) : 0;
      const x = 2 * Math.PI * cutoff * t;
      taps[i] = hann * 2 * cutoff * (x === 0 ? 1 : Math.sin(x) / x);
    }
    return taps;
  }

  process([[channel]]) {
    if (channel && this.running) {
      const joined = new Float32Array(this.input.length + channel.length);
      joined.set(this.input);
      joined.set(channel, this.input.length);
      this.input = joined;
      this.convert();
    }
    return this.running;
  }

  convert() {
    const end = this.inputStart + this.input.length;
    for (;;) {
      const position = Math.floor((this.nextOutput * this.inputsPerUnit) / this.outputsPerUnit);
      if (position + this.reach >= end) break;
      const taps = this.taps[this.nextOutput % this.outputsPerUnit];
      const first = position - this.reach - this.inputStart;
      let sum = 0;
      for (let i = 0; i < taps.length; i++) sum += taps[i] * this.input[first + i];
      this.put(sum);
      this.nextOutput++;
    }
    const needed = Math.floor((this.nextOutput * this.inputsPerUnit) / this.outputsPerUnit) - this.reach;
    this.input = this.input.slice(needed - this.inputStart);
    this.inputStart = needed;
  }

  put(sample) {
    this.peak = Math.max(this.peak, Math.abs(sample));
    this.block[this.filled++] = Math.max(-32768, Math.min(32767, Math.round(sample * 32768)));
    if (this.filled === this.block.length) this.post();
  }

  post() {
    const samples = this.block.slice(0, this.filled);
    this.port.postMessage({ samples, peak: this.peak }, [samples.buffer]);
    this.filled = 0;
    this.peak = 0;
  }

  stop() {
    this.running = false;
    this.post();
    this.port.postMessage({ stopped: true });
  }
}

function greatestCommonDivisor(a, b) {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}

registerProcessor("recorder", Recorder);
