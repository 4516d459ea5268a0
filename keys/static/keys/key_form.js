// The form of a key: what an empty field means for the chosen owner, rows for budgets, and what the key may do.

const form = document.querySelector("[data-key-form]");
const inherited = JSON.parse(document.getElementById("inherited").textContent);

// ---- What an empty field means

const owner_choice = form.elements.owner_choice;

function sayWhatEmptyMeans() {
  if (!owner_choice.value) return;
  for (const [field, text] of Object.entries(inherited[owner_choice.value] ?? inherited[""])) {
    const place = document.querySelector(`#id_${field}_helptext > div`) ?? document.getElementById(`id_${field}_helptext`);
    if (place) place.textContent = text;
  }
}

// ---- The last day, where a day was chosen, and the reason, where none was

function showWhatItNeeds() {
  form.querySelector(".field-expires_on").hidden = form.elements.expires.value !== "date";
  form.querySelector(".field-no_expiry_reason").hidden = form.elements.expires.value !== "never";
}

// ---- Names of models that have a route

function offer(button) {
  const list = document.getElementById(button.dataset.into);
  const lines = list.value.split("\n").map((line) => line.trim()).filter(Boolean);
  if (!lines.includes(button.dataset.offer)) lines.push(button.dataset.offer);
  list.value = lines.join("\n");
  list.dispatchEvent(new Event("input", { bubbles: true }));
}

// ---- Rows for budgets

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

// ---- What the key may do: asked of the gateway, which knows; the button waits for what is missing

const PAUSE_MS = 300;
const preview = document.getElementById("preview");
const buttons = form.querySelectorAll("[data-issue], [data-enter]");
let waiting = 0;
let asked = 0;

async function look() {
  const number = ++asked;
  const answer = await fetch(form.dataset.preview, { method: "POST", body: new FormData(form) }).catch(() => null);
  const said = answer?.ok ? await answer.text().catch(() => null) : null;
  if (number !== asked) return;
  if (said !== null) preview.innerHTML = said; // else the form's own answer will say what is wrong
  allow(said === null || preview.querySelector("[data-missing]") === null);
}

function allow(issuing) {
  for (const each of buttons) each.disabled = !issuing;
}

function lookSoon() {
  asked++; // an answer that is still on its way is about what the form said before
  clearTimeout(waiting);
  waiting = setTimeout(look, PAUSE_MS);
}

owner_choice.addEventListener("change", sayWhatEmptyMeans);
form.querySelector("[name=add_budget]")?.addEventListener("click", addBudget);
for (const each of form.querySelectorAll("[data-offer]")) each.addEventListener("click", () => offer(each));
if (form.elements.expires) {
  form.elements.expires.addEventListener("change", showWhatItNeeds);
  showWhatItNeeds();
}
if (preview) {
  form.querySelector("[name=check]").hidden = true;
  form.addEventListener("input", lookSoon);
  look();
}
