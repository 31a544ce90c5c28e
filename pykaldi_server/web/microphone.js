/** The microphone as a stream of 16-bit samples. */

const WANTED_RATE_HZ = 16000;

/** How long the last samples may take; phones stop the audio of pages that they put aside. */
const LAST_SAMPLES_MS = 1000;

/** True where the browser lets this page use a microphone at all: over https, or on localhost. */
export function microphoneIsPossible() {
  return Boolean(navigator.mediaDevices?.getUserMedia && window.AudioWorkletNode);
}

/** The microphones that there are; they have names only after the page was allowed to use one. */
export async function microphones() {
  const devices = (await navigator.mediaDevices?.enumerateDevices?.()) ?? [];
  return devices.filter((device) => device.kind === "audioinput" && device.deviceId);
}

export class Microphone {
  #context = null;
  #stream = null;
  #recorder = null;

  /** Rate of the samples; known after `open`. */
  rateHz = WANTED_RATE_HZ;

  /**
   * Asks for permission and makes everything ready.
   *
   * @param {string} deviceId  "": the browser's choice
   */
  async open(deviceId) {
    const device = deviceId ? { deviceId: { exact: deviceId } } : {};
    this.#stream = await navigator.mediaDevices.getUserMedia({
      audio: { ...device, channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: true },
    });
    this.#context = new AudioContext();
    // Some browsers start it asleep, and phones put it to sleep for a call.
    this.#context.addEventListener("statechange", () => this.#wake());
    this.#wake();
    this.rateHz = Math.min(WANTED_RATE_HZ, this.#context.sampleRate);
    await this.#context.audioWorklet.addModule(new URL("recorder-worklet.js", import.meta.url));
  }

  /**
   * Starts the stream.
   *
   * @param {(samples: Int16Array, peak: number) => void} onSamples  called every 50 ms; peak is 0..1
   * @param {() => void} onEnd  called when the microphone has been unplugged or taken away
   */
  start(onSamples, onEnd) {
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
    for (const track of this.#stream.getTracks()) track.addEventListener("ended", onEnd);
    source.connect(this.#recorder);
  }

  async #wake() {
    const context = this.#context;
    if (!context || context.state === "running" || context.state === "closed") return;
    try {
      await context.resume();
    } catch (error) {
      if (error.name !== "InvalidStateError") throw error; // closed meanwhile
    }
  }

  /** Stops; fulfilled when the last samples have been given, or will not come. */
  async stop() {
    if (this.#recorder && this.#context.state === "running") {
      const port = this.#recorder.port;
      const stopped = new Promise((resolve) => {
        port.addEventListener("message", ({ data }) => data.stopped && resolve());
      });
      port.postMessage("stop");
      await Promise.race([stopped, new Promise((resolve) => setTimeout(resolve, LAST_SAMPLES_MS))]);
      port.onmessage = null;
    }
    this.#stream?.getTracks().forEach((track) => track.stop());
    const context = this.#context;
    this.#recorder = this.#stream = this.#context = null;
    await context?.close();
  }
}
