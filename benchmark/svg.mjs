// Charts as SVG text: groups of bars, and lines, both over a logarithmic axis. Does not know benchmarks.
// Invariant: the same input gives the same bytes.

const WIDTH = 960;
const HEIGHT = 380;
const plot = { left: 64, right: WIDTH - 12, top: 64, bottom: HEIGHT - 44 };
/** Okabe and Ito: told apart by everybody. */
const colours = ['#d55e00', '#0072b2', '#56b4e9', '#009e73', '#999999', '#cc79a7', '#e69f00'];

/** @param {{ title: string, series: string[], groups: { label: string, values: (number | undefined)[] }[] }} chart */
export function barChart({ title, series, groups }) {
  const axis = logAxis(groups.flatMap(({ values }) => values));
  const step = (plot.right - plot.left) / groups.length;
  const width = (step * 0.86) / series.length;
  const bars = groups.flatMap(({ values }, group) =>
    values.map((value, index) => {
      if (value === undefined) return '';
      const x = plot.left + step * (group + 0.07) + width * index;
      const y = axis.at(value);
      const label = `${series[index]}: ${short(value)}`;
      return `<rect x="${fix(x)}" y="${fix(y)}" width="${fix(width - 2)}" height="${fix(plot.bottom - y)}" fill="${colours[index]}"><title>${escaped(label)}</title></rect>${text(x + width / 2 - 1, y - 4, short(value), 'middle', 9)}`;
    }),
  );
  const names = groups.map(({ label }, group) =>
    text(plot.left + step * (group + 0.5), plot.bottom + 18, label, 'middle'),
  );
  return page(title, series, [...axis.lines, ...bars, ...names]);
}

/** @param {{ title: string, series: string[], xs: number[], lines: (number | undefined)[][], xTitle: string }} chart */
export function lineChart({ title, series, xs, lines, xTitle }) {
  const axis = logAxis(lines.flat());
  const step = (plot.right - plot.left) / xs.length;
  const x = (index) => plot.left + step * (index + 0.5);
  const curves = lines.map((values, line) => {
    const points = values.flatMap((value, index) => (value === undefined ? [] : [[x(index), axis.at(value), value]]));
    const path = points.map(([px, py]) => `${fix(px)},${fix(py)}`).join(' ');
    const dots = points.map(
      ([px, py, value]) =>
        `<circle cx="${fix(px)}" cy="${fix(py)}" r="3.5" fill="${colours[line]}"/>${text(px + 7, py - 5, short(value), 'start', 10)}`,
    );
    return `<polyline points="${path}" fill="none" stroke="${colours[line]}" stroke-width="2"/>${dots.join('')}`;
  });
  const names = xs.map((value, index) => text(x(index), plot.bottom + 18, `${value} ${xTitle}`, 'middle'));
  return page(title, series, [...axis.lines, ...curves, ...names]);
}

/** From the power of ten below the smallest value to the one above the largest. */
function logAxis(values) {
  const present = values.filter((value) => value > 0);
  const low = Math.floor(Math.log10(Math.min(...present)) - 0.01);
  const high = Math.ceil(Math.log10(Math.max(...present)) + 0.05);
  const height = (plot.bottom - plot.top) / (high - low);
  const at = (value) => plot.bottom - (Math.log10(value) - low) * height;
  const lines = [];
  for (let power = low; power <= high; power++) {
    const y = fix(at(10 ** power));
    lines.push(`<line x1="${plot.left}" x2="${plot.right}" y1="${y}" y2="${y}" class="rule"/>`);
    lines.push(text(plot.left - 6, at(10 ** power) + 4, short(10 ** power), 'end'));
  }
  return { at, lines };
}

function page(title, series, parts) {
  const step = (plot.right - plot.left) / series.length;
  const legend = series.map((name, index) => {
    const x = plot.left + step * index;
    return `<rect x="${fix(x)}" y="36" width="10" height="10" fill="${colours[index]}"/>${text(x + 14, 45, name)}`;
  });
  const style =
    'text{font-family:system-ui,sans-serif;fill:#222}.rule{stroke:#8886}.back{fill:#fff}' +
    '@media(prefers-color-scheme:dark){text{fill:#ddd}.back{fill:#111}}';
  return [
    '<!-- Made by benchmark/report.mjs from rows.json; not edited by hand. -->',
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${escaped(title)}">`,
    `<style>${style}</style><rect class="back" width="${WIDTH}" height="${HEIGHT}"/>`,
    text(plot.left, 22, title, 'start', 15),
    ...legend,
    ...parts.filter((part) => part !== ''),
    '</svg>\n',
  ].join('\n');
}

function text(x, y, content, anchor = 'start', size = 11) {
  return `<text x="${fix(x)}" y="${fix(y)}" text-anchor="${anchor}" font-size="${size}">${escaped(content)}</text>`;
}

function short(value) {
  if (value >= 999_500) return `${trim(value / 1e6)} M`;
  if (value >= 1000) return `${trim(value / 1e3)} k`;
  return trim(value);
}

const trim = (value) => String(Number(value.toPrecision(value >= 100 ? 3 : 2)));
const fix = (value) => Number(value.toFixed(1));
const escaped = (content) => String(content).replace(/[&<>"]/g, (sign) => `&#${sign.charCodeAt(0)};`);
