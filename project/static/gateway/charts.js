// Draws each <figure data-chart="…"> from the JSON block of that id.

const PATTERNS = [[], [6, 3], [2, 2], [8, 3, 2, 3], [1, 3]];
const charts = [];

// A variable holds light-dark(…). Only a property that uses it has the color of the current theme.
const probe = document.createElement("span");
probe.hidden = true;
document.body.append(probe);

function color(variable) {
  probe.style.color = `var(${variable})`;
  return getComputedStyle(probe).color;
}

const reducedMotion = window.matchMedia("(prefers-reduced-motion: reduce)");

function datasets({ type, series }) {
  return series
    .filter(({ values }) => values.some((value) => value !== 0))
    .map(({ name, values, color: number }, index) => ({
      label: name,
      data: values,
      backgroundColor: color(`--chart-${number ?? index + 1}`),
      borderColor: color(type === "line" ? `--chart-${number ?? index + 1}` : "--panel-bg"),
      borderDash: type === "line" ? PATTERNS[index % PATTERNS.length] : [],
      borderWidth: type === "line" ? 2 : { top: 1 },
      borderRadius: 2,
      maxBarThickness: 48,
    }));
}

function options({ unit, stacked }) {
  const text = color("--body-quiet-color");
  const ticks = { color: text, maxRotation: 0, autoSkipPadding: 16, precision: 0 };
  return {
    animation: reducedMotion.matches ? false : { duration: 250 },
    maintainAspectRatio: false,
    interaction: { mode: "index", intersect: false },
    plugins: {
      legend: { position: "bottom", labels: { color: text, boxWidth: 12, boxHeight: 12, padding: 16 } },
      tooltip: { callbacks: { label: ({ dataset, formattedValue }) => `${dataset.label}: ${formattedValue} ${unit}` } },
    },
    scales: {
      x: { stacked, ticks, grid: { display: false }, border: { color: color("--border-color") } },
      y: { stacked, ticks, beginAtZero: true, suggestedMax: 4, grid: { color: color("--hairline-color") }, border: { display: false } },
    },
  };
}

function draw(figure) {
  const description = JSON.parse(document.getElementById(figure.dataset.chart).textContent);
  const chart = new window.Chart(figure.querySelector("canvas"), {
    type: description.type,
    data: { labels: description.labels, datasets: datasets(description) },
    options: options(description),
  });
  charts.push({ chart, description });
}

function redraw() {
  for (const { chart, description } of charts) {
    chart.data.datasets = datasets(description);
    chart.options = options(description);
    chart.update("none");
  }
}

document.querySelectorAll("figure[data-chart]").forEach(draw);
new MutationObserver(redraw).observe(document.documentElement, { attributeFilter: ["data-theme"] });
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
