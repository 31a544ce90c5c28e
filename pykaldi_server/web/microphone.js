/** The microphone as a stream of 16-bit samples. */

const WANTED_RATE_HZ = 16000;

/** True where the browser lets this page use a microphone at all: over https, or on localhost. */
export function microphoneIsPossible() {
  return Boolean(navigator.mediaDevices?.getUserMedia && window.AudioWorkletNode);
}

export class Microphone {
  #context = null;
  #stream = null;
  #recorder = null;

  /** Rate of the samples; known after `open`. */
  rateHz = WANTED_RATE_HZ;

  /** GStreamer caps of the samples. */
  get contentType() {
    return `audio/x-raw, layout=(string)interleaved, rate=(int)${this.rateHz}, format=(string)S16LE, channels=(int)1`;
  }

  /** Asks for permission and makes everything ready. */
  async open() {
    this.#stream = await navigator.mediaDevices.getUserMedia({
      audio: { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: true },
    });
    this.#context = new AudioContext();
    this.rateHz = Math.min(WANTED_RATE_HZ, this.#context.sampleRate);
    await this.#context.audioWorklet.addModule(new URL("recorder-worklet.js", import.meta.url));
  }

  /**
   * Starts the stream.
   *
   * @param {(samples: Int16Array, peak: number) => void} onSamples  called every 50 ms; peak is 0..1
   */
  start(onSamples) {
    const source = this.#context.createMediaStreamSource(this.#stream);
    this.#recorder = new AudioWorkletNode(this.#context, "recorder", {
      numberOfOutputs: 0,
      channelCount: 1,
      channelCountMode: "explicit",
      processorOptions: { rateHz: this.rateHz },
    });
    this.#recorder.port.onmessage = ({ data }) => {
      if (data.samples) onSamples(data.samples, data.peak);
    };
    source.connect(this.#recorder);
  }

  /** Stops; fulfilled when the last samples have been given. */
  async stop() {
    if (this.#recorder) {
      const port = this.#recorder.port;
      const stopped = new Promise((resolve) => {
        port.addEventListener("message", ({ data }) => data.stopped && resolve());
      });
      port.postMessage("stop");
      await stopped;
    }
    this.#stream?.getTracks().forEach((track) => track.stop());
    await this.#context?.close();
    this.#recorder = this.#stream = this.#context = null;
  }
}
