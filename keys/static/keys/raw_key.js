// The page that shows a raw key once: hide and show it, send a test request, confirm that it is stored.

const field = document.getElementById("raw-key");
const raw = field.value;
const texts = [...document.querySelectorAll(".snippet pre")].map((element) => ({ element, text: element.textContent }));

// ---- Show and hide

const showButton = document.getElementById("show");

function show(visible) {
  field.type = visible ? "text" : "password";
  showButton.textContent = visible ? "Hide" : "Show";
  for (const { element, text } of texts) {
    element.copyText = text;
    element.textContent = visible ? text : text.replaceAll(raw, "•".repeat(12));
  }
}

showButton.hidden = false;
showButton.addEventListener("click", () => show(field.type === "password"));
field.addEventListener("focus", () => field.select());
document.addEventListener("reveal", () => show(true));

// ---- “Done” is enabled once the key is stored

const stored = document.getElementById("stored");
const done = document.getElementById("done");
done.disabled = !stored.checked;
stored.addEventListener("change", () => {
  done.disabled = !stored.checked;
});

// ---- Test request

const TIMEOUT_MS = 120_000;
const MEANINGS = {
  400: "The request is invalid, or the upstream rejected it.",
  401: "The key was rejected. It may have been disabled or revoked.",
  402: "A budget of the key or its team is exhausted, or the model has no price.",
  403: "The key is not allowed to use this model, or not from your IP address. Check its access policy.",
  404: "No route matches this model.",
  429: "A rate limit of the key or its team is exceeded.",
  502: "The key is valid. The upstream failed, or rejected the gateway's credential.",
  503: "The key is valid. No upstream is available for this model, or usage recording is unavailable.",
  504: "The key is valid. The upstream timed out.",
  529: "The key is valid. The upstream is overloaded.",
};
const form = document.getElementById("try");
const button = form.querySelector("button");
const outcome = document.getElementById("outcome");

function line(term, text) {
  const row = document.createElement("div");
  const [name, value] = [document.createElement("dt"), document.createElement("dd")];
  [name.textContent, value.textContent] = [term, text];
  row.append(name, value);
  return row;
}

function showOutcome({ good, message, lines }) {
  const badge = document.createElement("span");
  badge.className = `badge badge-${good ? "good" : "bad"}`;
  badge.textContent = good ? "Succeeded" : "Failed";
  const list = document.createElement("dl");
  list.className = "facts";
  list.append(...lines.map(([term, text]) => line(term, text)));
  const sentence = document.createElement("p");
  sentence.textContent = message;
  outcome.replaceChildren(badge, sentence, list);
}

async function send() {
  const began = performance.now();
  const response = await fetch(form.action, {
    method: "POST",
    credentials: "omit",
    headers: { authorization: `Bearer ${raw}`, "content-type": "application/json" },
    body: JSON.stringify({
      model: form.elements.model.value,
      max_tokens: 16,
      messages: [{ role: "user", content: "Say hello." }],
    }),
    signal: AbortSignal.timeout(TIMEOUT_MS),
  });
  const body = await response.json().catch(() => ({}));
  const text = body.data?.choices?.[0]?.message?.content;
  return {
    good: response.ok,
    message: response.ok
      ? "The gateway accepted the key, and the model responded."
      : (MEANINGS[response.status] ?? "Internal gateway error. The log has the details."),
    lines: [
      ["HTTP status", String(response.status)],
      ["Time", `${Math.round(performance.now() - began).toLocaleString("en")} ms`],
      [response.ok ? "Response" : "Message", (response.ok ? text : body.message) || "none"],
      ["Request ID", response.headers.get("request-id") ?? "none"],
    ],
  };
}

form.hidden = false;
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  button.disabled = true;
  outcome.textContent = "Waiting for the response …";
  try {
    showOutcome(await send());
  } catch (error) {
    const message =
      error.name === "TimeoutError"
        ? "No response within two minutes."
        : "Your browser could not reach the gateway.";
    showOutcome({ good: false, message, lines: [] });
  }
  button.disabled = false;
});
