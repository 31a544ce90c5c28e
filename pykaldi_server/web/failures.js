/** What can go wrong, in plain words, with a way out. No page and no network here. */

/**
 * @typedef {object} Failure
 * @property {string} text  what went wrong, naming the file, the model or the address
 * @property {string} remedy  what the person can do about it
 * @property {number|null} retryAfterS  after how many seconds the page tries again by itself; null: it does not
 * @property {boolean} [isFault]  the same may happen again however often one tries
 */

export function failure(text, remedy, retryAfterS = null, isFault = false) {
  return { text, remedy, retryAfterS, isFault };
}

/** The connection has broken, or there is no server at the other end. */
export function connectionLost(address) {
  return failure(
    `The connection to ${address} is gone.`,
    "Nothing is lost: the page tries again by itself and goes on where it was.",
    0,
  );
}

/**
 * What the server says of a request that it ends.
 *
 * @param {{status: number, message?: string, "retry-after"?: number}} event  an error of the speech protocol
 * @param {{name: string, model: string, isFile: boolean}} request  what it is about
 * @returns {Failure}
 */
export function failureOf(event, { name, model, isFile }) {
  const said = (event.message ?? "").replace(/[.\s]+$/, "");
  const details = said ? ` (${said})` : "";
  switch (event.status) {
    case 1:
      return isFile
        ? failure(`Nothing more of ${name} has arrived${details}.`, "Try again, over a faster connection if there is one.")
        : failure(`Nothing was heard for a long time${details}.`, "Start the microphone when you want to go on.");
    case 2:
      return failure(
        `The server stopped in the middle of ${name}${details}.`,
        "The page tries again by itself and goes on where it was.",
        0,
        true,
      );
    case 3:
      return failure(
        `${name} cannot be read as audio${details}.`,
        isFile
          ? "Open a recording or a video, such as WAV, MP3, M4A, Ogg or MP4."
          : "Reload the page; if that does not help, try another browser.",
      );
    case 9:
      return event["retry-after"]
        ? failure(
            "All places on the server are taken.",
            isFile ? "The file stays in the list until it is its turn." : "What you say is kept until there is one.",
            event["retry-after"],
          )
        : failure(
            model ? `The server has no model “${model}”${details}.` : `The server cannot take ${name}${details}.`,
            "Choose another model in the settings.",
          );
    case 5:
    case 6:
      return failure(`The server refuses ${name}${details}.`, "Ask whoever runs the server for access.");
    case 8:
      return failure(`The model does not know this language${details}.`, "Choose another model in the settings.");
    default:
      return failure(
        `The server reports a fault with ${name}${details || ` (code ${event.status})`}.`,
        "Try again; if it happens again, tell whoever runs the server.",
      );
  }
}

/** Why there is no microphone; `error` is what the browser throws. */
export function microphoneFailure(error) {
  switch (error.name) {
    case "NotAllowedError":
    case "SecurityError":
      return failure(
        "The browser does not let this page use the microphone.",
        "Allow it with the symbol beside the address of the page, then press the microphone again. Files work without.",
      );
    case "NotFoundError":
    case "OverconstrainedError":
      return failure("No microphone was found.", "Plug one in, or choose another one in the settings.");
    case "NotReadableError":
    case "AbortError":
      return failure(
        "The microphone cannot be used.",
        "Another program may hold it: close that, or choose another microphone in the settings.",
      );
    default:
      return failure(`The microphone does not start (${error.message || error.name}).`, "Reload the page and try again.");
  }
}

/** The browser cannot read a file. */
export function fileFailure(name, error) {
  const isGone = error.name === "NotReadableError" || error.name === "NotFoundError";
  return failure(
    isGone
      ? `${name} was moved, changed or deleted after it had been opened.`
      : `${name} cannot be read (${error.message || error.name}).`,
    "Open the file again.",
  );
}
