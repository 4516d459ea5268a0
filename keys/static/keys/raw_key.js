// The page that shows a raw key once: hide it from people who look on, try it, and say that it is stored.

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

// ---- Done, once it is stored

const stored = document.getElementById("stored");
const done = document.getElementById("done");
done.disabled = !stored.checked;
stored.addEventListener("change", () => {
  done.disabled = !stored.checked;
});

// ---- One short call with the key, from here

const PATIENCE_MS = 120_000;
const MEANINGS = {
  400: "The gateway did not understand the request, or the upstream refused it.",
  401: "The key is not accepted. It may have been disabled or revoked a moment ago.",
  402: "A budget of the key, or of its team, has not as much left; or the model has no price here.",
  403: "The key may not use this model, or not from the address of this browser. If that is what you set, all is well.",
  404: "No route leads to this model.",
  429: "A limit of the key, or of its team, is reached.",
  502: "The key is good. The upstream failed, or refused the gateway's account.",
  503: "The key is good. No upstream serves this model now, or the gateway cannot record calls.",
  504: "The key is good. The upstream did not answer in time.",
  529: "The key is good. The upstream is overloaded.",
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

function tell({ good, words, lines }) {
  const badge = document.createElement("span");
  badge.className = `badge badge-${good ? "good" : "bad"}`;
  badge.textContent = good ? "It works" : "It did not work";
  const list = document.createElement("dl");
  list.className = "facts";
  list.append(...lines.map(([term, text]) => line(term, text)));
  const sentence = document.createElement("p");
  sentence.textContent = words;
  outcome.replaceChildren(badge, sentence, list);
}

async function send() {
  const began = performance.now();
  const answer = await fetch(form.action, {
    method: "POST",
    credentials: "omit",
    headers: { authorization: `Bearer ${raw}`, "content-type": "application/json" },
    body: JSON.stringify({
      model: form.elements.model.value,
      max_tokens: 16,
      messages: [{ role: "user", content: "Say hello." }],
    }),
    signal: AbortSignal.timeout(PATIENCE_MS),
  });
  const body = await answer.json().catch(() => ({}));
  const text = body.data?.choices?.[0]?.message?.content;
  return {
    good: answer.ok,
    words: answer.ok ? "The gateway let the key in, and the model answered." : (MEANINGS[answer.status] ?? "The gateway failed: its log has the details."),
    lines: [
      ["HTTP status", String(answer.status)],
      ["Time", `${Math.round(performance.now() - began).toLocaleString("en")} ms`],
      [answer.ok ? "Answer" : "Message", (answer.ok ? text : body.message) || "none"],
      ["Request id", answer.headers.get("request-id") ?? "none"],
    ],
  };
}

form.hidden = false;
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  button.disabled = true;
  outcome.textContent = "Waiting for the answer …";
  try {
    tell(await send());
  } catch (error) {
    const words =
      error.name === "TimeoutError"
        ? "No answer came within two minutes."
        : "The gateway could not be reached from this browser.";
    tell({ good: false, words, lines: [] });
  }
  button.disabled = false;
});
