// The issue and edit forms of an API key: help texts, budget rows, and the preview.

const form = document.querySelector("[data-key-form]");
const helpTexts = JSON.parse(document.getElementById("help-texts").textContent);

// ---- Help texts, by owner

const owner = form.elements.owner_choice;

function updateHelpTexts() {
  if (!owner.value) return;
  for (const [field, text] of Object.entries(helpTexts[owner.value] ?? helpTexts[""])) {
    const place = document.querySelector(`#id_${field}_helptext > div`) ?? document.getElementById(`id_${field}_helptext`);
    if (place) place.textContent = text;
  }
}

// ---- Last day and reason, depending on the chosen expiry

function updateExpiryFields() {
  form.querySelector(".field-expires_on").hidden = form.elements.expires.value !== "date";
  form.querySelector(".field-no_expiry_reason").hidden = form.elements.expires.value !== "never";
}

// ---- Suggested model names

function addModel(button) {
  const list = document.getElementById(button.dataset.into);
  const lines = list.value.split("\n").map((line) => line.trim()).filter(Boolean);
  if (!lines.includes(button.dataset.suggestion)) lines.push(button.dataset.suggestion);
  list.value = lines.join("\n");
  list.dispatchEvent(new Event("input", { bubbles: true }));
}

// ---- Budget rows

function addBudget(event) {
  event.preventDefault();
  const total = form.elements["budgets-TOTAL_FORMS"];
  const row = document.createElement("div");
  row.innerHTML = form.querySelector("[data-budget-row]").innerHTML.replaceAll("__prefix__", total.value);
  form.querySelector("[data-budgets]").append(...row.children);
  document.getElementById(`id_budgets-${total.value}-amount`).focus();
  total.value = Number(total.value) + 1;
  event.currentTarget.hidden = total.value >= Number(form.elements["budgets-MAX_NUM_FORMS"].value);
}

// ---- Preview, rendered by the server. The issue button is disabled while the form has problems.

const DEBOUNCE_MS = 300;
const preview = document.getElementById("preview");
const buttons = form.querySelectorAll("[data-issue], [data-enter]");
let timer = 0;
let latest = 0;

async function updatePreview() {
  const number = ++latest;
  const response = await fetch(form.dataset.preview, { method: "POST", body: new FormData(form) }).catch(() => null);
  const html = response?.ok ? await response.text().catch(() => null) : null;
  if (number !== latest) return;
  if (html !== null) preview.innerHTML = html; // otherwise, submitting the form shows its errors
  setIssuable(html === null || preview.querySelector("[data-problems]") === null);
}

function setIssuable(issuable) {
  for (const each of buttons) each.disabled = !issuable;
}

function schedulePreview() {
  latest++; // a pending response describes an older state of the form
  clearTimeout(timer);
  timer = setTimeout(updatePreview, DEBOUNCE_MS);
}

owner.addEventListener("change", updateHelpTexts);
form.querySelector("[name=add_budget]")?.addEventListener("click", addBudget);
for (const each of form.querySelectorAll("[data-suggestion]")) each.addEventListener("click", () => addModel(each));
if (form.elements.expires) {
  form.elements.expires.addEventListener("change", updateExpiryFields);
  updateExpiryFields();
}
if (preview) {
  form.querySelector("[name=check]").hidden = true;
  form.addEventListener("input", schedulePreview);
  updatePreview();
}
