// The page that shows a raw key once: copy it, or a snippet with it, and hide it from people who look on.

const field = document.getElementById("raw-key");
const showButton = document.getElementById("show");
const announcement = document.getElementById("copied");
const snippets = [...document.querySelectorAll(".snippet pre")].map((pre) => ({ pre, text: pre.textContent }));
const raw = field.value;

const textOf = (element) => (element === field ? raw : snippets.find(({ pre }) => pre === element).text);

function select(element) {
  if (element === field) {
    field.focus();
    field.select();
    return;
  }
  const range = document.createRange();
  range.selectNodeContents(element);
  const selection = window.getSelection();
  selection.removeAllRanges();
  selection.addRange(range);
}

function show(visible) {
  field.type = visible ? "text" : "password";
  showButton.textContent = visible ? "Hide" : "Show";
  for (const { pre, text } of snippets) pre.textContent = visible ? text : text.replaceAll(raw, "•".repeat(12));
}

// A clipboard exists on HTTPS and localhost only, and may be forbidden: then the text is selected for the keyboard.
async function copy(button) {
  const element = document.getElementById(button.dataset.copy);
  try {
    await navigator.clipboard.writeText(textOf(element));
  } catch {
    show(true);
    select(element);
    announcement.textContent = "It is selected: copy it with the keyboard.";
    return;
  }
  button.textContent = "Copied";
  announcement.textContent = "Copied";
  setTimeout(() => {
    button.textContent = "Copy";
    announcement.textContent = "";
  }, 2500);
}

showButton.hidden = false;
showButton.addEventListener("click", () => show(field.type === "password"));
field.addEventListener("focus", () => field.select());
for (const button of document.querySelectorAll("[data-copy]")) {
  button.hidden = false;
  button.addEventListener("click", () => copy(button));
}
