// Moves the focus to the first wrong field of a form that was sent back. Messages have it by `autofocus`.

const wrong = document.querySelector(
  "#content [aria-invalid=true]:not([type=hidden]), #content .errors :is(input, select, textarea):not([type=hidden])",
);
if (wrong) wrong.focus();
