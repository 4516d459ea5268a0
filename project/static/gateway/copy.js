// Copies the value of a field or the text of an element, hidden or not. Its ID is in data-copy of the button.

const announcement = document.getElementById("copied");

const textOf = (element) => element.copyText ?? element.value ?? element.textContent;

function select(element) {
  document.dispatchEvent(new Event("reveal")); // hidden text cannot be selected
  if (element.select) {
    element.focus();
    element.select();
    return;
  }
  const range = document.createRange();
  range.selectNodeContents(element);
  const selection = window.getSelection();
  selection.removeAllRanges();
  selection.addRange(range);
}

// The clipboard needs HTTPS or localhost, and a permission. Without it, the text is selected for the keyboard.
async function copy(button) {
  const element = document.getElementById(button.dataset.copy);
  try {
    await navigator.clipboard.writeText(textOf(element));
  } catch {
    select(element);
    announcement.textContent = "Selected. Copy with the keyboard.";
    return;
  }
  button.textContent = "Copied";
  announcement.textContent = "Copied";
  setTimeout(() => {
    button.textContent = "Copy";
    announcement.textContent = "";
  }, 2500);
}

for (const button of document.querySelectorAll("[data-copy]")) {
  button.hidden = false;
  button.addEventListener("click", () => copy(button));
}
