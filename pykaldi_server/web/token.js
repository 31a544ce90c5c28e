/** The token that the server asks for: kept until the tab is closed, and shown in the addresses of WebSockets. */

const NAME = "pykaldi-server-token";

/** What the person has entered; empty if the server has not asked. */
export function currentToken() {
  return sessionStorage.getItem(NAME) ?? "";
}

let asking = null;

/** Whether a server that has closed a WebSocket for this reason wants another token. */
export function wantsToken(reason) {
  return /^expected the token .* found (none|an unknown token)$/.test(reason);
}

/** Asks the person for a token; fulfilled when there is one. */
export function askForToken() {
  asking ??= ask().finally(() => {
    asking = null;
  });
  return asking;
}

function ask() {
  const dialog = document.createElement("dialog");
  dialog.id = "token-dialog";
  dialog.className = "dialog";
  dialog.setAttribute("aria-label", "Access");
  const form = document.createElement("form");
  form.method = "dialog";
  const label = document.createElement("label");
  label.textContent = currentToken() ? "The server does not know this token. Another one:" : "The server asks for a token:";
  const input = document.createElement("input");
  input.id = "token";
  input.type = "password";
  input.required = true;
  input.autocomplete = "current-password";
  label.append(input);
  const button = document.createElement("button");
  button.id = "token-use";
  button.textContent = "Use it";
  button.className = "primary";
  form.append(label, button);
  dialog.append(form);
  document.body.append(dialog);
  dialog.addEventListener("cancel", (event) => event.preventDefault());
  dialog.showModal();
  return new Promise((resolve) => {
    form.addEventListener("submit", () => {
      sessionStorage.setItem(NAME, input.value.trim());
      dialog.remove();
      resolve();
    });
  });
}
