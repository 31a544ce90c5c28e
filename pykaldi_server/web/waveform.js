/** The picture of a sound: its peaks over time, a lane per channel, and the segments in it. */

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 600;
const HEIGHT = 44;

/** Files above this are not decoded for a picture: that takes as much memory as the sound has samples. */
const LARGEST_BYTES = 64 * 1024 * 1024;
const RATE_HZ = 8000;

/**
 * The peaks of a file, for each of its channels.
 *
 * @param {Blob} file
 * @returns {Promise<{lanes: number[][], durationS: number}|null>} null if the browser cannot decode it, or it is too large
 */
export async function peaksOfFile(file) {
  if (file.size > LARGEST_BYTES) return null;
  try {
    const sound = await new OfflineAudioContext(1, 1, RATE_HZ).decodeAudioData(await file.arrayBuffer());
    const channels = Array.from({ length: sound.numberOfChannels }, (_, index) => sound.getChannelData(index));
    return { lanes: channels.map((samples) => reduce(samples, WIDTH)), durationS: sound.duration };
  } catch (error) {
    if (error instanceof DOMException) return null;
    throw error;
  }
}

/** At most `columns` peaks that say the same as many values: the largest of each part. */
export function reduce(values, columns) {
  const count = Math.min(columns, values.length);
  return Array.from({ length: count }, (_, column) => {
    const end = Math.floor(((column + 1) * values.length) / count);
    let peak = 0;
    for (let i = Math.floor((column * values.length) / count); i < end; i++) peak = Math.max(peak, Math.abs(values[i]));
    return peak;
  });
}

/** The outline of a lane as an SVG path: up along the peaks and back below the middle. */
export function outline(peaks, top, height) {
  if (peaks.length === 0) return "";
  const middle = top + height / 2;
  const loudest = Math.max(0.05, ...peaks);
  const x = (index) => ((index * WIDTH) / Math.max(1, peaks.length - 1)).toFixed(1);
  const reach = (peak) => Math.max(0.5, (peak / loudest) * (height / 2 - 1));
  const above = peaks.map((peak, index) => `${x(index)},${(middle - reach(peak)).toFixed(1)}`);
  const below = peaks.map((peak, index) => `${x(index)},${(middle + reach(peak)).toFixed(1)}`).reverse();
  return `M${above.join("L")}L${below.join("L")}Z`;
}

/**
 * Draws the picture.
 *
 * @param {number[][]} lanes  peaks of each channel, 0..1
 * @param {number} durationS
 * @param {object[]} segments  of a take
 */
export function draw(lanes, durationS, segments) {
  const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" });
  const laneHeight = HEIGHT / Math.max(1, lanes.length);
  for (const { channel, startS, endS, words } of segments) {
    const isInLane = channel !== null && channel < lanes.length;
    const from = words[0]?.startS ?? startS;
    const to = words.at(-1)?.endS ?? endS;
    picture.append(
      svg("rect", {
        class: "segment",
        x: (from / durationS) * WIDTH,
        width: Math.max(1, ((to - from) / durationS) * WIDTH),
        y: isInLane ? channel * laneHeight : 0,
        height: isInLane ? laneHeight : HEIGHT,
        rx: 2,
      }),
    );
  }
  lanes.forEach((peaks, lane) => {
    picture.append(svg("path", { class: "sound", d: outline(peaks, lane * laneHeight, laneHeight) }));
  });
  picture.append(svg("line", { class: "cursor", x1: 0, x2: 0, y1: 0, y2: HEIGHT, visibility: "hidden" }));
  return picture;
}

/** Moves the line that says what is being heard; `fraction` is 0..1. */
export function moveCursor(picture, fraction) {
  const cursor = picture.querySelector(".cursor");
  cursor.setAttribute("visibility", "visible");
  for (const end of ["x1", "x2"]) cursor.setAttribute(end, (fraction * WIDTH).toFixed(1));
}

function svg(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}
