// Saves the table of issued keys as a CSV file that is built in the browser: the keys are not sent again.

const FORMULA = /^\s*[=+\-@\t\r]/; // a spreadsheet would execute it

const cell = (text) => `"${(FORMULA.test(text) ? `'${text}` : text).replaceAll('"', '""')}"`;

function csv(table) {
  const rows = [...table.rows].slice(1).map((row) => [...row.cells].map(({ textContent }) => cell(textContent)).join(","));
  return ["name,owner,key,api_key", ...rows].join("\r\n") + "\r\n";
}

function save(name, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}

const button = document.getElementById("download");
button.hidden = false;
button.addEventListener("click", () => {
  save(button.dataset.name, csv(document.getElementById("issued")));
  document.getElementById("downloaded").textContent = "The file is in your downloads. Store it like a password.";
});
