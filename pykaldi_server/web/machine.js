/**
 * The states of one piece of work, a recording or a file, from its begin to its end. No page, no network, no clock:
 * `step` takes a state and what has happened, and returns the next state.
 *
 *     listed ──begin──> connecting ──open──> running ──sent──> finishing ──close──> done
 *                          │  ▲  └─place─> waiting ─place 0─┘    │
 *                          │  └──retry──── reconnecting <──lose──┘ (from all that have a connection)
 *     asking ──begin──────>┘
 *
 * `fail` and `cancel` lead out of every state that is not an end: to `failed` and `cancelled`.
 */

const FIRST_RETRY_MS = 500;
const LONGEST_RETRY_MS = 10_000;

/** How often in a row a request may end for a fault without any progress before it is given up. */
export const MOST_FAULTS = 4;

const GIVEN_UP = {
  remedy: "It has been tried several times. The words so far are kept; tell whoever runs the server.",
  retryAfterS: null,
};

const ENDS = new Set(["done", "failed", "cancelled"]);
const CONNECTED = new Set(["connecting", "waiting", "running", "finishing"]);

/**
 * @typedef {object} State
 * @property {string} phase  see above
 * @property {number} place  place in line while waiting
 * @property {object|null} failure  why it has failed or reconnects
 * @property {number} attempts  how often in a row it has been lost without progress
 * @property {number} faults  how many of those the server ended for a fault, which may be in the audio
 * @property {boolean} isSent  all audio has been sent
 * @property {boolean} isStopping  no more is to be recorded
 */

/** @returns {State} for a file ("listed") or the microphone ("asking") */
export function initialState(phase) {
  return { phase, place: 0, failure: null, attempts: 0, faults: 0, isStopping: false, isSent: false };
}

export function isOver(state) {
  return ENDS.has(state.phase);
}

/** Whether audio is on its way to text, or will be as soon as that is possible. */
export function isActive(state) {
  return !isOver(state) && state.phase !== "listed";
}

/** Whether the microphone is on. */
export function isRecording(state) {
  return isActive(state) && !state.isStopping;
}

/** How long to wait before the next attempt. */
export function retryDelayMs({ attempts, failure }) {
  const backOff = Math.min(FIRST_RETRY_MS * 2 ** Math.max(0, attempts - 1), LONGEST_RETRY_MS);
  return Math.max(backOff, 1000 * (failure?.retryAfterS ?? 0));
}

/**
 * @param {State} state
 * @param {{type: string, place?: number, failure?: object}} event
 * @returns {State} the same object if the event means nothing in this state
 */
export function step(state, event) {
  const { phase } = state;
  if (isOver(state)) return event.type === "again" ? { ...initialState("listed"), isStopping: true } : state;
  switch (event.type) {
    case "begin":
      return phase === "listed" || phase === "asking" ? { ...state, phase: "connecting" } : state;
    case "retry":
      return phase === "reconnecting" ? { ...state, phase: "connecting" } : state;
    case "open":
      return phase === "connecting" ? { ...state, phase: "running" } : state;
    case "place":
      return placed(state, event.place);
    case "served": // somebody works on it again; whether that leads anywhere is not known yet
      return state.failure && CONNECTED.has(phase) ? { ...state, attempts: 0, failure: null } : state;
    case "progress":
      return CONNECTED.has(phase) ? { ...state, attempts: 0, faults: 0, failure: null } : state;
    case "stop":
      return phase === "asking" ? { ...state, phase: "cancelled" } : { ...state, isStopping: true };
    case "sent":
      return { ...state, isSent: true, phase: phase === "running" ? "finishing" : phase };
    case "lose":
      return CONNECTED.has(phase) ? lost(state, event.failure) : state;
    case "close":
      return CONNECTED.has(phase) ? { ...state, phase: "done", failure: null } : state;
    case "fail":
      return { ...state, phase: "failed", failure: event.failure };
    case "cancel":
      return { ...state, phase: "cancelled", failure: null };
    case "again": // only what is over can begin again
      return state;
    default:
      throw new Error(`expected an event of the machine, found ${event.type}`);
  }
}

function placed(state, place) {
  if (!CONNECTED.has(state.phase)) return state;
  if (place > 0) return { ...state, phase: "waiting", place };
  return state.phase === "waiting" ? { ...state, phase: state.isSent ? "finishing" : "running", place: 0 } : state;
}

function lost(state, failure) {
  const attempts = state.attempts + 1;
  const faults = state.faults + (failure.isFault ? 1 : 0);
  const isHopeless = failure.retryAfterS === null || faults >= MOST_FAULTS;
  if (isHopeless) return { ...state, phase: "failed", failure: { ...failure, ...(faults >= MOST_FAULTS ? GIVEN_UP : {}) } };
  return { ...state, phase: "reconnecting", place: 0, failure, attempts, faults, isSent: false };
}

/** What a state is called on the page. */
export function describeState(state, isFile) {
  const kept = isFile || state.isStopping ? "" : "; what you say is kept";
  switch (state.phase) {
    case "listed":
      return "In the list";
    case "asking":
      return "Allow the microphone in your browser …";
    case "connecting":
      return state.attempts > 0 ? `Connecting again …` : "Connecting …";
    case "waiting":
      return `Waiting: ${ordinal(state.place)} in line${kept}`;
    case "running":
      return isFile ? "Transcribing" : state.isStopping ? "Finishing …" : "Listening";
    case "finishing":
      return isFile ? "Transcribing" : "Finishing …";
    case "reconnecting":
      return `Trying again${kept}`;
    case "done":
      return "Done";
    case "failed":
      return "Stopped";
    default:
      return "Cancelled";
  }
}

function ordinal(number) {
  const suffix = { one: "st", two: "nd", few: "rd", other: "th" };
  return `${number}${suffix[new Intl.PluralRules("en", { type: "ordinal" }).select(number)]}`;
}
