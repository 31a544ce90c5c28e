/** A take: one recording or file, and the words that have been found in it. Only data; no page and no network here. */

/**
 * @typedef {object} Word  times are seconds from the start of the recording
 * @property {string} text
 * @property {number} startS
 * @property {number} endS
 * @property {number} confidence  0..1
 * @property {boolean} [isCorrected]
 *
 * @typedef {object} Segment
 * @property {number|null} channel  number of the channel from 0, where each is recognised by itself
 * @property {number} startS
 * @property {number} endS
 * @property {string} text
 * @property {Word[]} words  empty if the text is not made of words with times
 * @property {string[]} alternatives  other readings, the likelier ones first
 */

/** Players do not stop exactly where they are told to. */
const NEAR_S = 0.005;

/** Servers round times; what overlaps by less is not there twice. */
const ROUNDED_S = 0.011;

export class Take {
  /** @type {Segment[]} */
  segments = [];

  /** What is being said, by channel: text that may still change. */
  partials = new Map();

  /** What had been heard when the connection went, by channel; kept until its audio has been recognised again. */
  unfinished = new Map();

  #lastEndS = new Map();

  /** `splitsChannels`: each channel is recognised by itself. All of this stays as it was when the take was begun. */
  constructor({ id, title, kind, model = "", language = "", splitsChannels = false, startedAt = Date.now() }) {
    Object.assign(this, { id, title, kind, model, language, splitsChannels, startedAt });
  }

  get isEmpty() {
    return this.segments.length === 0 && this.unfinished.size === 0 && this.partials.size === 0;
  }

  /** Up to where in time there are final results, of the channel that is furthest behind. */
  get endS() {
    return this.#lastEndS.size ? Math.min(...this.#lastEndS.values()) : 0;
  }

  /**
   * Takes a final result.
   *
   * @param {object} event  of the speech protocol
   * @param {number} offsetS  where in the take its times begin
   * @returns {Segment|null} what was added; null for what is there already, because audio was recognised again
   */
  addFinal(event, offsetS = 0) {
    const channel = event.channel ?? null;
    const startS = offsetS + (event["segment-start"] ?? 0);
    const endS = startS + (event["segment-length"] ?? 0);
    const known = this.#lastEndS.get(channel);
    const mayRepeat = known !== undefined && event["segment-length"] !== undefined;
    if (mayRepeat && endS <= known + ROUNDED_S) return null;
    const whole = segmentOf(event.result.hypotheses, channel, startS, endS);
    const segment = mayRepeat && startS < known - ROUNDED_S ? restOf(whole, known) : whole;
    if (segment) this.segments.push(segment);
    this.#lastEndS.set(channel, endS);
    this.partials.delete(channel);
    this.unfinished.delete(channel);
    return segment;
  }

  setPartial(text, channel = null) {
    if (text) {
      this.partials.set(channel, text);
      this.unfinished.delete(channel);
    } else this.partials.delete(channel);
  }

  /** The connection has gone: what was being said stays, and is marked. */
  interrupt() {
    for (const [channel, text] of this.partials) this.unfinished.set(channel, text);
    this.partials.clear();
  }

  /** Everything has been recognised: there is nothing unfinished any more. */
  finish() {
    this.partials.clear();
    this.unfinished.clear();
  }

  /** The word that is said at a time; null in pauses. */
  wordAt(timeS) {
    for (const segment of this.segments) {
      if (timeS < segment.startS || timeS > segment.endS) continue;
      const index = segment.words.findLastIndex(({ startS, endS }) => timeS >= startS - NEAR_S && timeS < endS);
      if (index >= 0) return { segment, index };
    }
    return null;
  }

  /** The person says what a word really was; returns the segment's new text. */
  correct(segment, index, text) {
    const word = segment.words[index];
    Object.assign(word, { text, confidence: 1, isCorrected: true });
    segment.words = segment.words.filter((each) => each.text);
    segment.text = segment.words.map((each) => each.text).join(" ");
    return segment.text;
  }

  /** Another reading takes the place of a segment's text; its words share the time. */
  choose(segment, reading) {
    const startS = segment.words[0]?.startS ?? segment.startS;
    const endS = segment.words.at(-1)?.endS ?? segment.endS;
    const texts = reading.split(/\s+/).filter(Boolean);
    const stepS = (endS - startS) / Math.max(1, texts.length);
    segment.alternatives = [segment.text, ...segment.alternatives.filter((each) => each !== reading)];
    segment.text = reading;
    segment.words = texts.map((text, index) => ({
      text,
      startS: startS + index * stepS,
      endS: startS + (index + 1) * stepS,
      confidence: 1,
      isCorrected: true,
    }));
  }

  toJSON() {
    const { id, title, kind, model, language, splitsChannels, startedAt } = this;
    const segments = this.segments.map(({ words, ...segment }) => ({
      ...segment,
      words: words.map((each) => [each.text, each.startS, each.endS, each.confidence, each.isCorrected ? 1 : 0]),
    }));
    const unfinished = [...this.unfinished, ...this.partials];
    return { id, title, kind, model, language, splitsChannels, startedAt, segments, unfinished };
  }

  static fromJSON({ segments, unfinished, ...about }) {
    const take = new Take(about);
    take.segments = segments.map(({ words, ...segment }) => ({
      ...segment,
      words: words.map(([text, startS, endS, confidence, isCorrected]) => ({
        text,
        startS,
        endS,
        confidence,
        ...(isCorrected ? { isCorrected: true } : {}),
      })),
    }));
    take.unfinished = new Map(unfinished);
    return take;
  }
}

/** What people call a channel; they count from 1. */
export function channelName(channel) {
  return `Channel ${channel + 1}`;
}

function segmentOf([best, ...others], channel, startS, endS) {
  const words = (best["word-alignment"] ?? []).map((word) => ({
    text: word.word,
    startS: round(startS + word.start),
    endS: round(startS + word.start + word.length),
    confidence: word.confidence ?? 1,
  }));
  // A post-processor may have rewritten the text, so that its words are not those that have times.
  const isWhole = words.map((word) => word.text).join(" ") === best.transcript;
  return {
    channel,
    startS: round(startS),
    endS: round(endS),
    text: best.transcript,
    words: isWhole ? words : [],
    alternatives: others.map((each) => each.transcript),
  };
}

/** What a segment says after a time; null if that is nothing. A text without times cannot be cut, and stays whole. */
function restOf(segment, timeS) {
  if (segment.words.length === 0) return segment.text ? segment : null;
  const words = segment.words.filter(({ startS, endS }) => (startS + endS) / 2 > timeS);
  if (words.length === 0) return null;
  if (words.length === segment.words.length) return { ...segment, startS: round(timeS) };
  return { ...segment, startS: round(timeS), words, text: words.map(({ text }) => text).join(" "), alternatives: [] };
}

function round(seconds) {
  return Math.round(1000 * seconds) / 1000;
}
