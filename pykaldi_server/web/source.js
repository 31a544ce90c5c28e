/** Where the audio of a take comes from: a file, or a recording that is still growing. Both can be read again. */

/** How many samples of a recording are kept as an array before they go into a blob, which the browser may keep on disk. */
const FOLDED_SAMPLES = 16_000 * 10;

export class FileSource {
  isComplete = true;

  /** @param {Blob} file */
  constructor(file) {
    this.file = file;
    // Only audio and video types help the server; without one it looks at the data.
    this.contentType = /^(audio|video)\//.test(file.type) ? file.type : "";
  }

  get size() {
    return this.file.size;
  }

  /** @returns {Promise<ArrayBuffer>} bytes from `begin` to `end`; the latter may lie beyond the end of the file */
  read(begin, end) {
    return this.file.slice(begin, end).arrayBuffer();
  }

  /** Where to read again to recognise what comes after a time: files have to be read from their start. */
  resumeAt() {
    return { byte: 0, timeS: 0 };
  }

  /** The whole of it, as a file. */
  blob() {
    return this.file;
  }
}

/** What the microphone has recorded: 16-bit samples of one channel. */
export class Recording {
  isComplete = false;
  size = 0;

  /** The loudest sample of each piece that was appended, 0..1, for the picture of the sound. */
  peaks = [];

  #folded = new Blob();
  #tail = [];
  #wakers = [];

  constructor(rateHz) {
    this.rateHz = rateHz;
    this.contentType =
      `audio/x-raw, layout=(string)interleaved, rate=(int)${rateHz}, format=(string)S16LE, channels=(int)1`;
  }

  get durationS() {
    return this.size / 2 / this.rateHz;
  }

  /** @param {Int16Array} samples  @param {number} peak  0..1 */
  append(samples, peak) {
    this.#tail.push(samples);
    this.size += samples.byteLength;
    this.peaks.push(peak);
    if (this.size - this.#folded.size >= 2 * FOLDED_SAMPLES) this.#fold();
    this.#wake();
  }

  /** No more will come. */
  complete() {
    this.isComplete = true;
    this.#wake();
  }

  /** Fulfilled when there is more than `size` bytes, or no more will come. */
  async more(size) {
    while (this.size <= size && !this.isComplete) await new Promise((resolve) => this.#wakers.push(resolve));
  }

  async read(begin, end) {
    const { size } = this.#folded;
    if (begin >= size) return this.#readTail(begin - size, end - size);
    return new Blob([this.#folded, ...this.#tail]).slice(begin, end).arrayBuffer();
  }

  resumeAt(timeS) {
    const sample = Math.min(Math.round(timeS * this.rateHz), this.size / 2);
    return { byte: 2 * sample, timeS: sample / this.rateHz };
  }

  /** The recording so far, as a WAV file. */
  blob() {
    const header = wavHeader(this.size, this.rateHz);
    return new Blob([header, this.#folded, ...this.#tail], { type: "audio/wav" });
  }

  #readTail(begin, end) {
    let position = 0;
    const parts = [];
    for (const samples of this.#tail) {
      const bytes = new Uint8Array(samples.buffer, samples.byteOffset, samples.byteLength);
      const from = Math.max(0, begin - position);
      const to = Math.min(bytes.length, end - position);
      if (from < to) parts.push(bytes.subarray(from, to));
      position += bytes.length;
    }
    const joined = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
    let filled = 0;
    for (const part of parts) {
      joined.set(part, filled);
      filled += part.length;
    }
    return joined.buffer;
  }

  #fold() {
    this.#folded = new Blob([this.#folded, ...this.#tail]);
    this.#tail = [];
  }

  #wake() {
    for (const wake of this.#wakers.splice(0)) wake();
  }
}

/** The 44 bytes before the samples of a WAV file: 16 bits, one channel. */
function wavHeader(numBytes, rateHz) {
  const view = new DataView(new ArrayBuffer(44));
  const text = (offset, value) => [...value].forEach((each, i) => view.setUint8(offset + i, each.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 36 + numBytes, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true); // PCM
  view.setUint16(22, 1, true); // channels
  view.setUint32(24, rateHz, true);
  view.setUint32(28, 2 * rateHz, true); // bytes per second
  view.setUint16(32, 2, true); // bytes per sample of all channels
  view.setUint16(34, 16, true); // bits
  text(36, "data");
  view.setUint32(40, numBytes, true);
  return view.buffer;
}
